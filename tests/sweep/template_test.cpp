// The failure sweep of the making of a template and a seed: the n-th request goes wrong, for every
// n.
#include "run.hpp"
#include "sandbox/run.hpp"
#include "support/bytes.hpp"
#include "sweep/ends.hpp"

#include <fstream>

namespace px::testing {
namespace {

/// A disk image and a cloud-init configuration that no server has seen yet.
std::string spec_of_a_new_disk(const TemporaryDirectory& folder) {
  const auto path = folder.path() / "disk.raw";
  // Not its first bytes: they may be taken for a compressed file's.
  std::ofstream{path, std::ios::binary} << std::string(512, '\0') << random_bytes(512);
  return fmt::format(R"({{"sdn_config": null, "vms_config": [
      {{"vm_source_config": {{"disk": "{}"}}, "nics": [],
        "cloud_init": {{"run": ["echo {}"]}}}}]}})",
                     path.string(), random_hex(16));
}

awaitable<void> prepare(Lane& lane, std::string spec, Ends& ends) {
  sandbox::Run run{co_await asio::this_coro::executor, lane.pool(), lane.environment()};
  try {
    co_await run.prepare(spec);
    co_await run.sweep(true);
  } catch (const Error& error) {
    ends.failure = error;
  }
}

Round one_round(Lane& lane, int n, const Kind& kind) {
  const TemporaryDirectory folder;
  const auto spec = spec_of_a_new_disk(folder);
  Ends ends;
  lane.arm(n, kind.fault);
  run(prepare(lane, spec, ends));
  Round round;
  round.requests = lane.disarm();
  finish(lane, n, kind, ends, round);
  Ends again;
  run(prepare(lane, spec, again));
  if (again.failure) {
    round.mistakes.push_back(fmt::format("the next start fails, too: {}", again.failure->what()));
  }
  return round;
}

class TemplateSweep : public ::testing::TestWithParam<Kind> {};

TEST_P(TemplateSweep, endsWellOrWithOneClearErrorAndLeavesNothing) {
  const auto rounds = sweep(GetParam().by_password,
                            [](Lane& lane, int n) { return one_round(lane, n, GetParam()); });
  EXPECT_GE(report(rounds), 15) << "so many requests do they cost at least";
}

INSTANTIATE_TEST_SUITE_P(Requests, TemplateSweep, all_kinds(), name_of_kind);

}  // namespace
}  // namespace px::testing
