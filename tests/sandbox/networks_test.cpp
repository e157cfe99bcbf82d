// What `net` says of a server's networks, which of them may go, and how they go.
#include "sandbox/networks.hpp"

#include "environment.hpp"
#include "network/plan.hpp"
#include "node_under_test.hpp"
#include "run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::sandbox {
namespace {

using network::Inventory;
using network::mark_alias;
using px::testing::NodeUnderTest;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::string live_run = "00000001";
const std::string dead_run = "00000002";
const std::string unknown_run = "00000003";

RunLife life_in_test(const std::string& run) {
  return {run == live_run ? Life::alive : run == dead_run ? Life::dead : Life::unknown};
}

/// A node with zones of a live, a dead and an unknown run, one without a mark, and a stranger's.
class NetworksOnNode : public ::testing::Test {
 public:
  NetworksOnNode() {
    add("abc101", 1, mark_alias("lan", live_run));
    add("abc102", 2, mark_alias("lan", dead_run));
    add("abc103", 3, mark_alias("lan", unknown_run));
    add("abc104", 4, "lan");
    add("office", 5, "office");
    apply();
  }

  void call(const std::string& method, const std::string& path, const std::string& form = "") {
    const auto reply = node_.call(method, path, form);
    ASSERT_EQ(reply.status, 200) << path << " " << reply.body;
  }
  /// A zone with a VNet and a subnet 10.NET.0.0/24 with DHCP.
  void add(const std::string& prefix, int net, const std::string& alias) {
    const auto zone = prefix == "office" ? prefix : prefix + "z";
    const auto vnet = prefix == "office" ? prefix : prefix + "v0";
    call("POST", "/cluster/sdn/zones", "type=simple&ipam=pve&dhcp=dnsmasq&zone=" + zone);
    call("POST", "/cluster/sdn/vnets",
         fmt::format("zone={}&vnet={}&alias={}", zone, vnet, percent_encode(alias)));
    call("POST", "/cluster/sdn/vnets/" + vnet + "/subnets",
         fmt::format("type=subnet&gateway=10.{0}.0.1&subnet=10.{0}.0.0%2F24&dhcp-range="
                     "start-address%3D10.{0}.0.50%2Cend-address%3D10.{0}.0.99",
                     net));
  }
  void apply() { node_.end_of_task(node_.call("PUT", "/cluster/sdn").text()); }
  void add_vm(int vmid, const std::string& vnet) {
    const auto reply =
        node_.call("POST", "/nodes/proxmox/qemu",
                   fmt::format("vmid={}&name=web&net0={}", vmid,
                               percent_encode("virtio=BC:24:11:00:00:01,bridge=" + vnet)));
    ASSERT_EQ(node_.end_of_task(reply.text()), "OK");
  }

  Inventory look() { return look_as(node_.variables()); }
  Inventory look_as(const std::map<std::string, std::string>& variables) {
    auto work = [](asio::thread_pool& pool, pve::Instance instance) -> awaitable<Inventory> {
      pve::Client client{co_await asio::this_coro::executor, pool, std::move(instance)};
      auto out = co_await network::take_inventory(client);
      co_await client.close();
      co_return out;
    };
    return px::testing::run(
        work(pool_, read_instances(px::testing::environment_of(variables)).front()));
  }
  /// What is left.
  std::vector<std::string> remove(const Choice& choice) {
    auto work = [](asio::thread_pool& pool, pve::Instance instance,
                   Choice what) -> awaitable<std::vector<std::string>> {
      pve::Client client{co_await asio::this_coro::executor, pool, std::move(instance)};
      auto out = co_await remove_chosen(client, what);
      co_await client.close();
      co_return out;
    };
    return px::testing::run(work(
        pool_, read_instances(px::testing::environment_of(node_.variables())).front(), choice));
  }
  Choice choose(NetworkSelection selection) {
    return choose_networks(look(), selection, life_in_test);
  }

  /// All zones, those that wait to be removed too.
  std::vector<std::string> zones() {
    std::vector<std::string> out;
    const auto listed = node_.call("GET", "/cluster/sdn/zones", "pending=1").data();
    for (const auto& zone : listed.as_array()) out.push_back(json::text_at(zone, "zone"));
    std::ranges::sort(out);
    return out;
  }

  NodeUnderTest node_;
  asio::thread_pool pool_{1};
};

std::vector<std::string> zones_of(const std::vector<Candidate>& candidates) {
  std::vector<std::string> out;
  for (const auto& item : candidates) out.push_back(item.networks.zone.text());
  return out;
}
/// "zone abc102z: its run ..."
std::vector<std::string> texts(const std::vector<NetworkProblem>& problems) {
  std::vector<std::string> out;
  for (const auto& problem : problems) out.push_back(problem.what + ": " + problem.said);
  return out;
}

TEST_F(NetworksOnNode, goByDeathOfTheirRun) {
  const auto choice = choose({.dead = true});
  EXPECT_THAT(zones_of(choice.remove), ElementsAre("abc102z"));
  EXPECT_THAT(choice.keep, IsEmpty());
  EXPECT_THAT(choice.remove.front().why, HasSubstr("run 00000002 is dead"));
}

TEST_F(NetworksOnNode, goByNameOfTheirRunEvenWhileItLives) {
  EXPECT_THAT(zones_of(choose({.run = live_run}).remove), ElementsAre("abc101z"));
  EXPECT_THAT(zones_of(choose({.run = unknown_run}).remove), ElementsAre("abc103z"));
  EXPECT_THAT(choose({.run = "ffffffff"}).remove, IsEmpty());
}

TEST_F(NetworksOnNode, goByTheirOwnNameWhenTheyAreOursAndTheirRunIsNotKnownToLive) {
  const auto choice =
      choose({.names = {"abc101z", "abc102v0", "abc103z", "abc104z", "office", "no"}});
  EXPECT_THAT(zones_of(choice.remove), ElementsAre("abc102z", "abc103z", "abc104z"));
  EXPECT_THAT(zones_of(choice.keep), ElementsAre("abc101z", "office"));
  EXPECT_THAT(choice.keep[0].why, HasSubstr("lives"));
  EXPECT_THAT(choice.keep[1].why, HasSubstr("not ours"));
  EXPECT_THAT(choice.unknown, ElementsAre("no"));
}

TEST_F(NetworksOnNode, stayWhileAVmHasACardInThem) {
  add_vm(100, "abc102v0");
  for (const auto& selection : {NetworkSelection{.run = dead_run}, NetworkSelection{.dead = true},
                                NetworkSelection{.names = {"abc102v0"}}}) {
    const auto choice = choose(selection);
    EXPECT_THAT(choice.remove, IsEmpty());
    ASSERT_EQ(choice.keep.size(), 1U);
    EXPECT_EQ(choice.keep.front().why, "in use: VM 100 (web)");
  }
}

TEST_F(NetworksOnNode, stayWhereNotAllVmsCanBeSeen) {
  auto weak = node_.variables();
  weak["PROXMOX_TOKEN_ID"] = "root@pam!weak";
  weak["PROXMOX_TOKEN_SECRET"] = json::text_at(
      node_.call("POST", "/access/users/root@pam/token/weak", "privsep=1").data(), "value");
  EXPECT_THAT(look_as(weak).unseen, ElementsAre("VM.Audit on /vms is missing"));
  auto inventory = look();
  inventory.unseen = {"node pve2 is offline"};
  EXPECT_THAT(choose_networks(inventory, {.dead = true}, life_in_test).remove, IsEmpty());
}

TEST_F(NetworksOnNode, areRemovedWithOneApplyAndNothingElse) {
  auto choice = choose({.names = {"abc102z", "abc103z"}});
  node_.send("POST", "/_control/reset", {});
  EXPECT_THAT(remove(choice), IsEmpty());
  EXPECT_THAT(zones(), ElementsAre("abc101z", "abc104z", "office"));
  const auto counted = node_.send("GET", "/_control/requests", {}).data();
  EXPECT_EQ(json::number_or(counted.at("requests"), "PUT /cluster/sdn", 0), 1);
}

TEST_F(NetworksOnNode, goAlthoughAnotherCannot) {
  for (int i = 0; i < 2; ++i) {
    const auto armed = node_.send(
        "POST", "/_control/faults", {{"Content-Type", "application/x-www-form-urlencoded"}},
        "action=answer&status=500&message=refused&pattern=DELETE%20.*zones%2Fabc102z&nth=1");
    ASSERT_EQ(armed.status, 200) << armed.body;
  }
  const auto left = remove(choose({.names = {"abc102z", "abc103z"}}));
  EXPECT_THAT(left, ElementsAre(StartsWith("zone abc102z: ")));
  EXPECT_THAT(left.front(), HasSubstr("refused"));
  EXPECT_THAT(zones(), ElementsAre("abc101z", "abc102z", "abc104z", "office"));
  EXPECT_THAT(remove(choose({.names = {"abc102z"}})), IsEmpty()) << "the next time it goes";
  EXPECT_THAT(zones(), ElementsAre("abc101z", "abc104z", "office"));
}

TEST_F(NetworksOnNode, areToldWhenTheyAreLeftOver) {
  const auto problems = problems_of(look(), life_in_test);
  EXPECT_THAT(texts(problems),
              ElementsAre("zone abc102z: its run 00000002 is dead",
                          "zone abc104z: named as ours are, without a run's mark, and no VM "
                          "uses it"));
  EXPECT_EQ(problems.front().fix, "proxmox-sandbox net rm --run 00000002");
}

TEST_F(NetworksOnNode, areToldWithTheVmThatKeepsThem) {
  add_vm(100, "abc102v0");
  add_vm(101, "abc104v0");
  const auto problems = problems_of(look(), life_in_test);
  EXPECT_THAT(texts(problems),
              ElementsAre("zone abc102z: its run 00000002 is dead; in use: VM 100 (web)"));
  EXPECT_EQ(problems.front().fix, "inspect sandbox cleanup proxmox 00000002");
}

TEST_F(NetworksOnNode, areToldWhenTheirChangesWait) {
  call("POST", "/cluster/sdn/zones", "zone=later&type=simple");
  EXPECT_THAT(texts(problems_of(look(), life_in_test)),
              Contains("zone later: changes that are not applied: zone later (new)"));
}

TEST_F(NetworksOnNode, areToldWhenTheyOverlap) {
  add("abc106", 5, mark_alias("", live_run));
  apply();
  EXPECT_THAT(texts(problems_of(look(), life_in_test)),
              Contains("overlap: 10.5.0.0/24 of VNet abc106v0 in zone abc106z and "
                       "10.5.0.0/24 of VNet office in zone office"));
}

TEST_F(NetworksOnNode, areToldWhenAnAddressIsBookedForAVmThatIsGone) {
  add_vm(100, "abc101v0");
  call("PUT", "/cluster/sdn/vnets/abc101v0/ips",
       "zone=abc101z&ip=10.1.0.77&mac=BC:24:11:00:00:01&vmid=999");
  const auto problems = problems_of(look(), life_in_test);
  EXPECT_THAT(
      texts(problems),
      Contains("address 10.1.0.77: booked on VNet abc101v0 for VM 999, which does not exist"));
}

TEST(NetworkProblems, tellWhatANodeSaysOfItsNetworks) {
  Inventory inventory;
  network::VnetEntry entry{{pve::VnetId::parse("office"), pve::ZoneId::parse("office"), ""},
                           {},
                           {},
                           {},
                           {"node pve1: error: ifreload failed"}};
  inventory.zones = network::sort_out({{pve::ZoneId::parse("office"), "simple", ""}}, {entry});
  inventory.without_dnsmasq = {pve::NodeName::parse("pve2")};
  inventory.lost_groups = {{"abc101v0", live_run}, {"abc102v0", dead_run}};
  EXPECT_THAT(texts(problems_of(inventory, life_in_test)),
              ElementsAre("VNet office: node pve1: error: ifreload failed",
                          StartsWith("node pve2: dnsmasq is not installed"),
                          StartsWith("group abc102v0: a security group of run 00000002")));
  inventory.has_sdn = false;
  EXPECT_THAT(texts(problems_of(inventory, life_in_test)), ElementsAre(StartsWith("SDN: ")));
}

TEST(NetworkChoice, takesLostGroupsOfItsRunAlong) {
  Inventory inventory;
  inventory.lost_groups = {{"abc101v0", live_run}, {"abc102v0", dead_run}};
  const auto names = [&](const NetworkSelection& selection) {
    std::vector<std::string> out;
    for (const auto& item : choose_networks(inventory, selection, life_in_test).groups)
      out.push_back(item.group.name);
    return out;
  };
  EXPECT_THAT(names({.dead = true}), ElementsAre("abc102v0"));
  EXPECT_THAT(names({.run = live_run}), ElementsAre("abc101v0"));
  EXPECT_THAT(names({.names = {"abc101v0", "abc102v0"}}), ElementsAre("abc102v0"));
}

}  // namespace
}  // namespace px::sandbox
