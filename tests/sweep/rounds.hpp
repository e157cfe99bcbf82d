#pragma once
#include "sanitized.hpp"

#include <functional>
#include <string>
#include <vector>

namespace px::testing {

/// One round of a sweep: what was wrong with it, and the evidence.
struct Round {
  int n = 0;
  int requests = 0;
  std::string end{};  ///< the error that it ended with; empty: it came through
  std::vector<std::string> mistakes{};
  std::vector<std::string> log{};
};

/// What the core logged on this thread in this round; what someone must act on begins with WARNING.
const std::vector<std::string>& round_log();

using OneRound = std::function<Round(int n)>;

/// Sanitized, a sweep takes five times as long: one in so many of its rounds does there.
constexpr int one_in = is_sanitized ? 7 : 1;

/// Rounds with n = 1, 2, ... (`one_in` of them) up to the first that has fewer than n requests.
/// Most of a round's time is waiting, so several lanes run side by side, each with nodes of its
/// own: `make_lane` makes one in the thread that it is used in.
std::vector<Round> sweep(const std::function<OneRound()>& make_lane);

/// Lets gtest report the mistakes, each round's with its log. Returns how many requests failed,
/// those that were left out counted in.
int report(const std::vector<Round>& rounds);

}  // namespace px::testing
