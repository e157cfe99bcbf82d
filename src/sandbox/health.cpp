#include "sandbox/health.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::sandbox {

void Health::failed(SteadyTime began, SteadyTime now, std::string why) {
  // Ten samples that one blow ends are one failure.
  const bool is_same = failed_at_ != SteadyTime{} && began <= failed_at_;
  if (is_same && !is_well()) return;
  why_ = std::move(why);
  until_ = now + pause_;
  failed_at_ = now;
  if (!is_same) pause_ = std::min(pause_ * 2, longest_pause);
}

std::chrono::seconds Health::left(SteadyTime now) const noexcept {
  return std::chrono::ceil<std::chrono::seconds>(std::max(until_ - now, {}));
}

std::string Health::text(SteadyTime now) const {
  if (is_well()) return {};
  return fmt::format("set aside for {} s more: {}", left(now).count(), why_);
}

}  // namespace px::sandbox
