// The failure sweep of clean-up by marks, of what a dead process left.
#include "sandbox/cleanup.hpp"

#include "run.hpp"
#include "sandbox/run.hpp"
#include "support/error.hpp"
#include "sweep/kinds.hpp"
#include "sweep/lane.hpp"

#include <gtest/gtest.h>

namespace px::testing {
namespace {

/// Two running VMs and a medium, and nobody who knows of them.
awaitable<void> die_in_the_middle(Lane& lane) {
  sandbox::Run run{co_await asio::this_coro::executor, lane.pool(), lane.environment()};
  co_await run.bring_up(two_vms, "sweep", "1");
  lane.leave_medium(sandbox::medium_name(run.id(), "0123456789abcdef"));
}

/// The error that a clean-up of everything ended with.
std::optional<Error> clean_up(Lane& lane) {
  try {
    run(sandbox::cleanup_from_environment(lane.pool(), "", lane.environment()));
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

Round one_round(Lane& lane, int n, const Kind& kind) {
  run(die_in_the_middle(lane));
  lane.arm(n, kind.fault);
  const auto error = clean_up(lane);
  Round round;
  round.requests = lane.disarm();
  if (error) {
    round.end = fmt::format("{}: {}", name_of(error->kind), error->what());
    if (!kind.may_fail(n)) round.mistakes.push_back("no error is wanted");
    if (error->kind != Errc::unavailable || round.end.find("127.0.0.1") == std::string::npos) {
      round.mistakes.push_back("the error is not clear");
    }
    // People then do it once more.
    if (const auto again = clean_up(lane)) round.mistakes.emplace_back(again->what());
  }
  for (const auto& thing : lane.leftovers()) round.mistakes.push_back(thing);
  return round;
}

class CleanupSweep : public ::testing::TestWithParam<Kind> {};

TEST_P(CleanupSweep, removesAllOrSaysWhatIsLeftAndRemovesItTheNextTime) {
  const auto rounds = sweep(GetParam().by_password,
                            [](Lane& lane, int n) { return one_round(lane, n, GetParam()); });
  EXPECT_GE(report(rounds), 13) << "so many requests has such a clean-up at least";
}

INSTANTIATE_TEST_SUITE_P(Requests, CleanupSweep, all_kinds(), name_of_kind);

}  // namespace
}  // namespace px::testing
