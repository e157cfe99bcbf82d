// What the doctor says of a server's networks, and the one thing that it puts right when asked.
#include "sandbox/doctor.hpp"

#include "environment.hpp"
#include "node_under_test.hpp"
#include "run.hpp"
#include "support/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace px::sandbox {
namespace {

using px::testing::NodeUnderTest;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class DoctorOnNode : public ::testing::Test {
 public:
  using Work = std::function<awaitable<void>(pve::Client&)>;
  void with_client(Work work) { with_client(node_.variables(), std::move(work)); }
  void with_client(const std::map<std::string, std::string>& variables, Work work) {
    auto body = [](asio::thread_pool& pool, pve::Instance instance, Work inner) -> awaitable<void> {
      pve::Client client{co_await asio::this_coro::executor, pool, std::move(instance)};
      co_await inner(client);
      co_await client.close();
    };
    px::testing::run(
        body(pool_, read_instances(px::testing::environment_of(variables)).front(), work));
  }
  std::vector<Finding> examine_as(const std::map<std::string, std::string>& variables) {
    std::vector<Finding> out;
    with_client(variables, [&](pve::Client& client) -> awaitable<void> {
      out = co_await examine_networks(client);
    });
    return out;
  }
  std::vector<Finding> examine() { return examine_as(node_.variables()); }

  void call(const std::string& method, const std::string& path, const std::string& form) {
    const auto reply = node_.call(method, path, form);
    ASSERT_EQ(reply.status, 200) << path << " " << reply.body;
  }
  void fail(const std::string& pattern, int status, const std::string& message) {
    node_.send("POST", "/_control/faults", {{"Content-Type", "application/x-www-form-urlencoded"}},
               fmt::format("action=answer&status={}&message={}&pattern={}", status,
                           percent_encode(message), percent_encode(pattern)));
  }

  NodeUnderTest node_;
  asio::thread_pool pool_{1};
};

const Finding& about(const std::vector<Finding>& findings, std::string_view what) {
  const auto found = std::ranges::find(findings, what, &Finding::what);
  if (found == findings.end()) throw Error{Errc::internal, "no finding about " + std::string{what}};
  return *found;
}

TEST_F(DoctorOnNode, findsWhatNetworksNeed) {
  const auto found = examine();
  EXPECT_EQ(about(found, "networks (SDN)").state, Finding::State::fine);
  EXPECT_EQ(about(found, "permissions for networks").state, Finding::State::fine);
  EXPECT_EQ(about(found, "permissions for closing networks").state, Finding::State::fine);
  EXPECT_EQ(about(found, "addresses (IPAM)").state, Finding::State::fine);
}

TEST_F(DoctorOnNode, saysSoWhereDhcpCantBeToldFromTheApi) {
  EXPECT_EQ(about(examine(), "DHCP (dnsmasq)").state, Finding::State::warning);
}

TEST_F(DoctorOnNode, stopsAtAServerWithoutSdn) {
  fail("GET .*/cluster/sdn/zones.*", 501, "Method 'GET /cluster/sdn/zones' not implemented");
  const auto found = examine();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.front().state, Finding::State::bad);
  EXPECT_THAT(found.front().fix, HasSubstr("libpve-network-perl"));
}

TEST_F(DoctorOnNode, namesTheMissingRights) {
  auto weak = node_.variables();
  weak["PROXMOX_TOKEN_ID"] = "root@pam!weak";
  weak["PROXMOX_TOKEN_SECRET"] = json::text_at(
      node_.call("POST", "/access/users/root@pam/token/weak", "privsep=1").data(), "value");
  const auto found = examine_as(weak);
  EXPECT_THAT(about(found, "permissions for networks").said,
              AllOf(HasSubstr("SDN.Allocate on /sdn"), HasSubstr("SDN.Use on /sdn/zones"),
                    HasSubstr("SDN.Audit on /sdn/zones"), HasSubstr("VM.Config.Network on /vms")));
  EXPECT_THAT(about(found, "permissions for closing networks").said, HasSubstr("Sys.Modify on /"));
  const auto& firewall = about(found, "firewall");
  EXPECT_EQ(firewall.state, Finding::State::warning);
  EXPECT_THAT(firewall.fix, HasSubstr("Sys.Audit on /"));
  EXPECT_FALSE(firewall.repair);
}

TEST_F(DoctorOnNode, saysWhomTheFirewallMeetsBeforeItIsSwitchedOn) {
  call("POST", "/nodes/proxmox/qemu",
       "vmid=100&name=guarded&net0=" + percent_encode("virtio,bridge=vmbr0,firewall=1"));
  call("POST", "/nodes/proxmox/qemu",
       "vmid=101&name=open&net0=" + percent_encode("virtio,bridge=vmbr0"));
  call("POST", "/nodes/proxmox/qemu",
       "vmid=102&name=off&net0=" + percent_encode("virtio,bridge=vmbr0,firewall=1"));
  call("PUT", "/nodes/proxmox/qemu/100/firewall/options", "enable=1");
  call("PUT", "/nodes/proxmox/qemu/101/firewall/options", "enable=1");
  call("PUT", "/cluster/firewall/options", "enable=0&policy_in=DROP");

  const auto found = examine();
  const auto& finding = about(found, "firewall");
  EXPECT_EQ(finding.state, Finding::State::bad);
  ASSERT_TRUE(finding.repair);
  EXPECT_EQ(finding.repair->change, "PUT /cluster/firewall/options enable=1 policy_in=ACCEPT");
  const auto& told = finding.repair->consequences;
  EXPECT_THAT(told, Contains(AllOf(HasSubstr("VM 100 (guarded)"), Not(HasSubstr("101")),
                                   Not(HasSubstr("102")))));
  EXPECT_THAT(told, Contains(HasSubstr("policy_in is set to DROP now")));
  EXPECT_FALSE(
      json::flag_or(node_.call("GET", "/cluster/firewall/options").data(), "enable", false))
      << "looking changes nothing";
}

TEST(FirewallConsequences, tellOfRulesThatSleepAndOfNodesThatCantBeSeen) {
  FirewallReach reach;
  EXPECT_EQ(consequences_of(reach).size(), 3U) << "what holds everywhere";
  reach.dormant = {"ACCEPT", 2, 1};
  reach.offline = {pve::NodeName::parse("pve2")};
  const auto told = consequences_of(reach);
  EXPECT_EQ(told.size(), 5U);
  EXPECT_THAT(told, Contains(HasSubstr("2 of the datacenter, 1 of its nodes")));
  EXPECT_THAT(told, Contains(HasSubstr("pve2 is offline")));
}

TEST_F(DoctorOnNode, switchesTheFirewallOnAndLeavesTheHostOpen) {
  call("PUT", "/cluster/firewall/options", "enable=0");
  const auto found = examine();
  EXPECT_EQ(about(found, "firewall").state, Finding::State::bad);
  ASSERT_TRUE(about(found, "firewall").repair);
  with_client(
      [&](pve::Client& client) { return about(found, "firewall").repair->carry_out(client); });
  const auto options = node_.call("GET", "/cluster/firewall/options").data();
  EXPECT_TRUE(json::flag_or(options, "enable", false));
  EXPECT_EQ(json::text_or(options, "policy_in"), "ACCEPT");
  EXPECT_EQ(about(examine(), "firewall").state, Finding::State::fine);
}

}  // namespace
}  // namespace px::sandbox
