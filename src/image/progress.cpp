#include "image/progress.hpp"

#include "support/log.hpp"

#include <chrono>

namespace px::image {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds pause{5};
constexpr std::uint64_t mb = 1'000'000;

}  // namespace

std::function<void(std::uint64_t, std::uint64_t)> show_progress(std::string what) {
  return [what = std::move(what), started = Clock::now(), told = Clock::now()](
             std::uint64_t done, std::uint64_t total) mutable {
    const auto now = Clock::now();
    if (done == total) {
      const std::chrono::duration<double> took = now - started;
      log::info("{}: {} MB in {:.1f} s", what, total / mb, took.count());
    } else if (total == 0 && now - told >= pause) {
      told = now;
      log::info("{}: {} MB", what, done / mb);
    } else if (total == 0) {
      return;
    } else if (done > 0 && now - told >= pause) {
      told = now;
      const std::chrono::duration<double> took = now - started;
      const auto left =
          took.count() * static_cast<double>(total - done) / static_cast<double>(done);
      log::info("{}: {} of {} MB, {:.0f} s left", what, done / mb, total / mb, left);
    }
  };
}

}  // namespace px::image
