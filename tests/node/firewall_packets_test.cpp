// The firewall of guests with real packets: guests are namespaces at the taps of VMs. Skipped where
// networks can't be made.
#include "node/namespace_guest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::node {
namespace {

using node::testing::Guest;
using node::testing::obstacle;
using node::testing::TemporaryDirectory;
using ::testing::HasSubstr;
using ::testing::Not;

json::object rule(std::string type, std::string action, json::object more = {}) {
  more["type"] = type;
  more["action"] = action;
  more["enable"] = 1;
  return more;
}

/// Closed but for what its rules say, as the provider isolates a VM.
const json::object closed{{"enable", 1}, {"policy_in", "DROP"}, {"policy_out", "DROP"}, {"dhcp", 1},
                          {"ndp", 1},    {"macfilter", 1}};

class GuestFirewall : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = obstacle(); !reason.empty()) GTEST_SKIP() << reason;
    start();
    node::testing::add_network(*sdn_, 1, false);
    node::testing::add_network(*sdn_, 2, false);
    sdn_->commit({}, true);
    px::testing::run(networks_->apply());
  }

  void start(const std::vector<RunningMachine>& machines = {}) {
    networks_.reset();
    sdn_.emplace(state_, "pve1");
    firewall_.emplace(state_, true);
    networks_ =
        std::make_unique<Networks>(*sdn_, *firewall_, pool_, state_.path("network"), machines);
  }

  static std::string nic_of(int vmid, const std::string& vnet) {
    return fmt::format("virtio={},bridge={},firewall=1", mac_of(vmid), vnet);
  }
  static std::string mac_of(int vmid) { return fmt::format("BC:24:11:00:00:{:02X}", vmid - 100); }

  /// The tap of a VM that has just been started.
  void start_vm(int vmid, const std::string& vnet) {
    sdn_->confirm({vnet, mac_of(vmid)}, fmt::format("g{}", vmid), vmid);
    MachineSetup setup;
    setup.options = {{"net0", nic_of(vmid, vnet)}};
    px::testing::run(networks_->attach(vmid, setup));
  }
  std::unique_ptr<Guest> guest(int vmid, const std::string& vnet) {
    start_vm(vmid, vnet);
    const auto tap = tap_name(vmid, "net0");
    inside({"ip", "link", "del", "dev", tap});
    auto out =
        std::make_unique<Guest>(*networks_->space(), directory_.path(), tap, vnet, mac_of(vmid));
    EXPECT_EQ(out->lease(), fmt::format("10.77.{}.{}", vnet.substr(1), vmid - 91));
    return out;
  }
  std::string inside(const std::vector<std::string>& argv) const {
    const auto done = run_tool(argv, networks_->space()->for_machines());
    EXPECT_EQ(done.exit_code, 0) << done.errors;
    return done.output;
  }

  void set_vm(int vmid, const json::object& options, const FirewallRules& rules) {
    firewall_->change(Firewall::vm_name(vmid), [&](FirewallFile& file) {
      file.options = options;
      file.rules = rules;
    });
    px::testing::run(networks_->filter(vmid));
  }
  void set_group(const std::string& name, const FirewallRules& rules) {
    firewall_->change(Firewall::datacenter_name(),
                      [&](FirewallFile& file) { file.groups[name].rules = rules; });
    px::testing::run(networks_->filter(std::nullopt));
  }

  TemporaryDirectory directory_;
  State state_{directory_.path() / "node"};
  asio::thread_pool pool_{2};
  std::optional<Sdn> sdn_;
  std::optional<Firewall> firewall_;
  std::unique_ptr<Networks> networks_;
};

const FirewallRules inner_only{rule("in", "ACCEPT", {{"source", "10.77.1.0/24"}}),
                               rule("out", "DROP", {{"dest", "10.77.1.1"}}),
                               rule("out", "ACCEPT", {{"dest", "10.77.1.0/24"}})};
const FirewallRules by_group{rule("group", "isolated", {{"iface", "net0"}})};

TEST_F(GuestFirewall, closesEverythingButTheSubnet) {
  const auto one = guest(101, "v1");
  const auto two = guest(102, "v1");
  EXPECT_TRUE(one->reaches("10.77.1.1")) << "without a firewall of its own";
  set_group("isolated", inner_only);
  set_vm(101, closed, by_group);
  EXPECT_FALSE(one->reaches("10.77.1.1")) << "its gateway";
  EXPECT_TRUE(one->reaches("10.77.1.11")) << "its neighbour";
  EXPECT_TRUE(two->reaches("10.77.1.10")) << "from its neighbour";
  EXPECT_EQ(one->lease(), "10.77.1.10") << "DHCP goes on";
  EXPECT_TRUE(two->reaches("10.77.1.1")) << "a guest without a firewall";
}

TEST_F(GuestFirewall, isThereBeforeTheFirstPacket) {
  set_group("isolated", inner_only);
  set_vm(101, closed, by_group);
  const auto one = guest(101, "v1");
  const auto two = guest(102, "v1");
  EXPECT_FALSE(one->reaches("10.77.1.1"));
  EXPECT_TRUE(one->reaches("10.77.1.11"));
}

TEST_F(GuestFirewall, letsAnswersInAndNobodyElse) {
  const auto one = guest(101, "v1");
  const auto two = guest(102, "v1");
  set_vm(101, {{"enable", 1}}, {});  // policy_in DROP, policy_out ACCEPT
  one->serve(80);
  two->serve(80);
  EXPECT_FALSE(two->reaches("10.77.1.10"));
  EXPECT_FALSE(two->reads("http://10.77.1.10/flag"));
  EXPECT_TRUE(one->reaches("10.77.1.11"));
  EXPECT_TRUE(one->reads("http://10.77.1.11/flag"));
  EXPECT_EQ(one->run("busybox ping -c 1 -W 1 -s 4000 10.77.1.11").exit_code, 0) << "in pieces";
  EXPECT_FALSE(two->reaches("10.77.1.10")) << "after it was spoken to, too";
}

TEST_F(GuestFirewall, letsAnswersOutAndNothingElse) {
  const auto one = guest(101, "v1");
  const auto two = guest(102, "v1");
  set_vm(101, closed, {rule("in", "ACCEPT", {{"proto", "tcp"}, {"dport", "80,8000:8010"}})});
  for (const int port : {80, 81, 8005}) one->serve(port);
  two->serve(80);
  EXPECT_TRUE(two->reads("http://10.77.1.10/flag"));
  EXPECT_TRUE(two->reads("http://10.77.1.10:8005/flag"));
  EXPECT_FALSE(two->reads("http://10.77.1.10:81/flag"));
  EXPECT_FALSE(two->reaches("10.77.1.10"));
  EXPECT_FALSE(one->reads("http://10.77.1.11/flag"));
}

TEST_F(GuestFirewall, followsChangesAtOnce) {
  const auto one = guest(101, "v1");
  const auto two = guest(102, "v1");
  set_vm(101, closed, by_group);
  EXPECT_FALSE(one->reaches("10.77.1.11")) << "the group is not there";
  set_group("isolated", inner_only);
  EXPECT_TRUE(one->reaches("10.77.1.11"));
  auto narrower = inner_only;
  narrower[2]["dest"] = "10.77.1.100-10.77.1.200";
  set_group("isolated", narrower);
  EXPECT_FALSE(one->reaches("10.77.1.11")) << "an address that is not in the range";
  auto off = by_group;
  off.push_back(rule("out", "ACCEPT", {{"dest", "10.77.1.11"}}));
  set_vm(101, closed, off);
  EXPECT_TRUE(one->reaches("10.77.1.11"));
  off[1]["enable"] = 0;
  set_vm(101, closed, off);
  EXPECT_FALSE(one->reaches("10.77.1.11")) << "a rule that is off";
  firewall_->change(Firewall::datacenter_name(),
                    [](FirewallFile& file) { file.options["enable"] = 0; });
  px::testing::run(networks_->filter(std::nullopt));
  EXPECT_TRUE(one->reaches("10.77.1.11")) << "the datacenter's firewall is off";
}

TEST_F(GuestFirewall, holdsACardToItsMac) {
  const auto one = guest(101, "v1");
  const auto two = guest(102, "v1");
  set_vm(101, {{"enable", 1}, {"policy_in", "ACCEPT"}}, {});
  EXPECT_TRUE(one->reaches("10.77.1.11"));
  one->run(
      "ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:01; ip link set eth0 up");
  const auto reaches_anew = [&] {
    for (const auto* guest : {one.get(), two.get()}) guest->run("ip neigh flush dev eth0");
    return one->reaches("10.77.1.11");
  };
  EXPECT_FALSE(reaches_anew());
  set_vm(101, {{"enable", 1}, {"policy_in", "ACCEPT"}, {"macfilter", 0}}, {});
  EXPECT_TRUE(reaches_anew());
}

TEST_F(GuestFirewall, holdsACardToItsAddresses) {
  const auto one = guest(101, "v1");
  const auto two = guest(102, "v1");
  set_vm(101, {{"enable", 1}, {"policy_in", "ACCEPT"}}, {});
  firewall_->change(Firewall::vm_name(101), [](FirewallFile& file) {
    file.ipsets["ipfilter-net0"].entries = {{{"cidr", "10.77.1.10"}}};
  });
  px::testing::run(networks_->filter(101));
  EXPECT_TRUE(one->reaches("10.77.1.11"));
  one->run("ip addr flush dev eth0; ip addr add 10.77.1.66/24 dev eth0");
  EXPECT_FALSE(one->reaches("10.77.1.11"));
}

TEST_F(GuestFirewall, knowsIpv6) {
  const auto one = guest(101, "v1");
  const auto two = guest(102, "v1");
  one->run("ip -6 addr add fd00:77::1/64 dev eth0 nodad");
  two->run("ip -6 addr add fd00:77::2/64 dev eth0 nodad");
  const auto link_local = std::string{"fe80::be24:11ff:fe00:2%eth0"};
  for (int i = 0; i < 300 && !one->reaches(link_local); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  EXPECT_TRUE(one->reaches(link_local)) << "without rules";
  set_vm(
      101, closed,
      {rule("in", "ACCEPT"), rule("out", "DROP", {{"dest", "fe80::/10"}}), rule("out", "ACCEPT")});
  EXPECT_FALSE(one->reaches(link_local));
  EXPECT_TRUE(one->reaches("fd00:77::2"));
  EXPECT_TRUE(one->reaches("10.77.1.11"));
  set_vm(101, closed, {rule("out", "ACCEPT", {{"dest", "10.0.0.0/8"}})});
  EXPECT_FALSE(one->reaches("fd00:77::2"));
  EXPECT_TRUE(one->reaches("10.77.1.11"));
}

TEST_F(GuestFirewall, goesWithTheVm) {
  set_vm(101, closed, {});
  start_vm(101, "v1");
  EXPECT_THAT(inside({"nft", "list", "ruleset"}), HasSubstr("tap101i0"));
  start_vm(101, "v1");  // it was stopped meanwhile
  EXPECT_THAT(inside({"nft", "list", "ruleset"}), HasSubstr("tap101i0"));
  px::testing::run(networks_->forget(101));
  EXPECT_THAT(inside({"nft", "list", "ruleset"}), Not(HasSubstr("tap101i0")));
  EXPECT_THAT(inside({"ip", "link"}), Not(HasSubstr("tap101i0")));
}

TEST_F(GuestFirewall, isOfTheCardsThatAskForIt) {
  set_vm(101, closed, {});
  const auto one = guest(101, "v1");
  const auto two = guest(102, "v1");
  EXPECT_FALSE(one->reaches("10.77.1.11"));
  auto machine = Process::spawn({"sleep", "600"}, "/", directory_.path() / "machine.log",
                                networks_->space()->for_machines());
  px::testing::run(
      networks_->move(101, machine.pid(), "net0", fmt::format("virtio={},bridge=v1", mac_of(101))));
  EXPECT_TRUE(one->reaches("10.77.1.11")) << "firewall=1 was taken away";
  machine.kill();
  while (machine.alive()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

TEST_F(GuestFirewall, isTakenOverFromAKilledNode) {
  set_vm(101, closed, {});
  const auto one = guest(101, "v1");
  auto machine = Process::spawn({"sleep", "600"}, "/", directory_.path() / "machine.log",
                                networks_->space()->for_machines());
  const auto two = guest(102, "v1");
  EXPECT_FALSE(one->reaches("10.77.1.11"));
  start({{101, machine.pid(), {{"net0", nic_of(101, "v1")}}}});
  px::testing::run(networks_->apply());
  EXPECT_FALSE(one->reaches("10.77.1.11"));
  set_vm(101, closed, {rule("out", "ACCEPT")});
  EXPECT_TRUE(one->reaches("10.77.1.11"));
  machine.kill();
  while (machine.alive()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

}  // namespace
}  // namespace px::node
