// The failure sweep of a sample in networks of its own, from the making of the networks to their
// removal: its n-th request goes wrong, for every n.
#include "run.hpp"
#include "sandbox/run.hpp"
#include "sweep/ends.hpp"

namespace px::testing {
namespace {

/// Two VMs, each with a card in both VNets, one with an address of its own.
const std::string world = R"({"vms_config": [
    {"vm_source_config": {"built_in": "debian13-small"}, "nics": [
        {"vnet_alias": "lan", "mac": "BC:24:11:00:00:01", "ipv4": "10.1.0.9"},
        {"vnet_alias": "wire"}]},
    {"vm_source_config": {"built_in": "debian13-small"}, "nics": [
        {"vnet_alias": "lan"}, {"vnet_alias": "wire"}]}],
    "sdn_config": {"vnet_configs": [{"alias": "wire"}, {"alias": "lan", "subnets": [
        {"cidr": "10.1.0.0/24", "gateway": "10.1.0.1", "snat": true,
         "dhcp_ranges": [{"start": "10.1.0.50", "end": "10.1.0.99"}]}]}]}})";

/// As Inspect does it: the ends come whatever became of the rest.
awaitable<void> live(Lane& lane, Ends& ends) {
  sandbox::Run run{co_await asio::this_coro::executor, lane.pool(), lane.environment()};
  std::shared_ptr<sandbox::Sandbox> sandbox;
  bool prepared = false;
  try {
    co_await run.prepare(world);
    prepared = true;
    sandbox = co_await run.bring_up(world, "sweep", "1");
  } catch (const Error& error) {
    ends.failure = error;
  }
  try {
    if (sandbox) co_await sandbox->destroy();
    if (prepared) co_await run.sweep(true);
  } catch (const Error& error) {
    ends.failure_of_end = error;
  }
}

Round one_round(Lane& lane, int n, const Kind& kind) {
  Ends ends;
  lane.arm(n, kind.fault);
  run(live(lane, ends));
  Round round;
  round.requests = lane.disarm();
  finish(lane, n, kind, ends, round);
  return round;
}

class NetworkSweep : public ::testing::TestWithParam<Kind> {};

TEST_P(NetworkSweep, endsWellOrWithOneClearErrorAndLeavesNothing) {
  const auto rounds = sweep(GetParam().by_password,
                            [](Lane& lane, int n) { return one_round(lane, n, GetParam()); });
  EXPECT_GE(report(rounds), 60) << "so many requests are there at least";
}

INSTANTIATE_TEST_SUITE_P(Requests, NetworkSweep, all_kinds(), name_of_kind);

}  // namespace
}  // namespace px::testing
