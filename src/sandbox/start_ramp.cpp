#include "sandbox/start_ramp.hpp"

#include <algorithm>

namespace px::sandbox {

namespace {

/// Below this a start is quick whatever the best one took.
constexpr double quick = 2;
constexpr double as_good_as_best = 4;  // times
constexpr double far_too_slow = 10;    // times

}  // namespace

void StartRamp::ended_well(std::chrono::duration<double> took) noexcept {
  --starting_;
  ++since_slowed_;
  const double seconds = took.count();
  best_ = best_ == 0 ? seconds : std::min(best_, seconds);
  const double pace = std::max(best_, quick / as_good_as_best);
  if (seconds > far_too_slow * pace) {
    slow_down();
  } else if (seconds <= as_good_as_best * pace) {
    allowed_ = std::min(allowed_ + (has_slowed_ ? 1 / allowed_ : 1), most);
  }
}

void StartRamp::failed() noexcept {
  --starting_;
  ++since_slowed_;
  slow_down();
}

/// Once for all the starts that were under way together.
void StartRamp::slow_down() noexcept {
  if (has_slowed_ && since_slowed_ < static_cast<int>(allowed_)) return;
  allowed_ = std::max(allowed_ / 2, 1.0);
  has_slowed_ = true;
  since_slowed_ = 0;
}

}  // namespace px::sandbox
