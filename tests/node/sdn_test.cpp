#include "node/network/ipam.hpp"
#include "node/vm_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::node {
namespace {

using node::testing::Params;
using node::testing::VmApi;
using node::testing::with_node;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

awaitable<void> apply(VmApi& api) {
  const json::value upid = co_await api.send("PUT", "/cluster/sdn");
  EXPECT_EQ(co_await api.end_of(upid), "OK");
}

/// Zone z1 with DHCP, VNet v1, subnet 10.9.0.0/24 with a gateway and a range of two addresses.
awaitable<void> make_network(VmApi& api) {
  co_await api.send("POST", "/cluster/sdn/zones",
                    {{"zone", "z1"}, {"type", "simple"}, {"ipam", "pve"}, {"dhcp", "dnsmasq"}});
  co_await api.send("POST", "/cluster/sdn/vnets", {{"vnet", "v1"}, {"zone", "z1"}});
  co_await api.send("POST", "/cluster/sdn/vnets/v1/subnets",
                    {{"subnet", "10.9.0.0/24"},
                     {"type", "subnet"},
                     {"gateway", "10.9.0.1"},
                     {"snat", "1"},
                     {"dhcp-range", "start-address=10.9.0.10,end-address=10.9.0.11"}});
}

awaitable<void> make_vm(VmApi& api, int vmid, std::string nic) {
  EXPECT_EQ(co_await api.task("POST", "",
                              {{"vmid", std::to_string(vmid)},
                               {"name", fmt::format("vm{}", vmid)},
                               {"net0", std::move(nic)}}),
            "OK");
}

/// "10.9.0.10 100": the booked addresses and their VMs, without gateways.
awaitable<std::vector<std::string>> bookings(VmApi& api) {
  const json::value status = co_await api.send("GET", "/cluster/sdn/ipams/pve/status");
  std::vector<std::string> out;
  for (const auto& entry : status.as_array()) {
    if (json::flag_or(entry, "gateway", false)) continue;
    out.push_back(
        fmt::format("{} {}", json::text_at(entry, "ip"), json::number_or(entry, "vmid", 0)));
  }
  co_return out;
}

struct Row {
  std::string name;
  std::string method;
  std::string path;
  Params params;
  std::string refusal;
};
std::ostream& operator<<(std::ostream& out, const Row& row) {
  return out << row.name;
}

class SdnRefusals : public ::testing::TestWithParam<Row> {};

TEST_P(SdnRefusals, areInTheRealServersWords) {
  with_node([](VmApi& api) -> awaitable<void> {
    co_await make_network(api);
    const Row& row = GetParam();
    EXPECT_THAT(co_await api.refused(row.method, row.path, row.params), HasSubstr(row.refusal));
  });
}

const std::string zones = "/cluster/sdn/zones";
const std::string vnets = "/cluster/sdn/vnets";
const std::string subnets = "/cluster/sdn/vnets/v1/subnets";

Params subnet_with(std::string cidr, Params more) {
  Params out{{"subnet", std::move(cidr)}, {"type", "subnet"}};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

INSTANTIATE_TEST_SUITE_P(
    Requests, SdnRefusals,
    ::testing::Values(
        Row{"a zone of another kind", "POST", zones, {{"zone", "z2"}, {"type", "vlan"}}, "501 "},
        Row{"an unknown IPAM",
            "POST",
            zones,
            {{"zone", "z2"}, {"type", "simple"}, {"ipam", "mine"}},
            "ipam: mine not existing"},
        Row{"another IPAM under subnets",
            "PUT",
            zones + "/z1",
            {{"delete", "ipam"}},
            "ipam: can't change ipam if a subnet is already defined in this zone"},
        Row{"an option that is none",
            "PUT",
            zones + "/z1",
            {{"delete", "colour"}},
            "update sdn zone object failed: no such option 'colour'"},
        Row{"a stale digest",
            "PUT",
            zones + "/z1",
            {{"mtu", "1400"}, {"digest", "00"}},
            "detected modified configuration"},
        Row{"a zone in use", "DELETE", zones + "/z1", {}, "zone z1 is used by vnet v1"},
        Row{"an unknown zone", "GET", zones + "/zz", {}, "500 sdn 'zz' does not exist"},
        Row{"a VNet without a zone",
            "POST",
            vnets,
            {{"vnet", "v2"}},
            "zone: property is missing and it is not optional"},
        Row{"a line break in an alias",
            "POST",
            vnets,
            {{"vnet", "v2"}, {"zone", "z1"}, {"alias", "it's"}},
            "alias: value does not match the regex pattern"},
        Row{"a VNet with VLANs over subnets",
            "PUT",
            vnets + "/v1",
            {{"vlanaware", "1"}},
            "vlanaware: vlanaware vnet is not compatible with subnets"},
        Row{"a VNet that loses its zone",
            "PUT",
            vnets + "/v1",
            {{"delete", "zone"}},
            "unable to delete required option 'zone'"},
        Row{"a VNet's name with nine characters",
            "GET",
            vnets + "/vnet12345",
            {},
            "vnet: value may only be 8 characters long"},
        Row{"text for a subnet", "POST", subnets, subnet_with("net", {}),
            "subnet: invalid format - value does not look like a valid CIDR network"},
        Row{"a prefix of seven bits", "POST", subnets, subnet_with("10.0.0.0/7", {}),
            "subnet: invalid format - value does not look like a valid CIDR network"},
        Row{"text for a gateway", "POST", subnets, subnet_with("10.8.0.0/24", {{"gateway", "x"}}),
            "gateway: invalid format - value does not look like a valid IP address"},
        Row{"a range that runs backwards", "POST", subnets,
            subnet_with("10.8.0.0/24",
                        {{"dhcp-range", "start-address=10.8.0.9,end-address=10.8.0.5"}}),
            "dhcp-range: start-address 10.8.0.9 must be smaller than end-address 10.8.0.5"},
        Row{"ranges that overlap", "POST", subnets,
            subnet_with("10.8.0.0/24",
                        {{"dhcp-range", "start-address=10.8.0.5,end-address=10.8.0.9"},
                         {"dhcp-range", "start-address=10.8.0.9,end-address=10.8.0.12"}}),
            "dhcp-range: dhcp ranges must not overlap"},
        Row{"a range without an end", "POST", subnets,
            subnet_with("10.8.0.0/24", {{"dhcp-range", "start-address=10.8.0.5"}}),
            "end-address: property is missing and it is not optional"},
        Row{"a subnet of an unknown VNet", "POST", vnets + "/v9/subnets",
            subnet_with("10.8.0.0/24", {}), "500 sdn vnet 'v9' does not exist"},
        Row{"an address outside of what is applied",
            "POST",
            vnets + "/v1/ips",
            {{"zone", "z1"}, {"ip", "10.9.0.20"}, {"mac", "BC:24:11:00:00:01"}},
            "500 can't find any subnet for ip 10.9.0.20"},
        Row{"an unknown interface",
            "GET",
            "/nodes/pve1/network/eth7",
            {},
            "iface: interface does not exist"}));

TEST(Sdn, showsWhatWaitsForTheNextApply) {
  with_node([](VmApi& api) -> awaitable<void> {
    const auto states = [&](std::string path) -> awaitable<std::vector<std::string>> {
      const json::value list = co_await api.send("GET", std::move(path), {{"pending", "1"}});
      std::vector<std::string> out;
      for (const auto& entry : list.as_array()) {
        const auto* waiting = json::find(entry, "pending");
        out.push_back(json::text_or(entry, "state", "-") + " " +
                      (waiting == nullptr ? "" : boost::json::serialize(*waiting)));
      }
      co_return out;
    };
    co_await make_network(api);
    EXPECT_THAT(co_await states(vnets), ElementsAre(R"(new {"zone":"z1"})"));
    co_await apply(api);
    EXPECT_THAT(co_await states(vnets), ElementsAre("- "));
    co_await api.send("PUT", vnets + "/v1", {{"alias", "one"}});
    EXPECT_THAT(co_await states(vnets), ElementsAre(R"(changed {"alias":"one"})"));
    co_await apply(api);
    co_await api.send("PUT", vnets + "/v1", {{"delete", "alias"}});
    EXPECT_THAT(co_await states(vnets), ElementsAre(R"(changed {"alias":"deleted"})"));
    co_await api.send("PUT", subnets + "/z1-10.9.0.0-24", {{"snat", "0"}});
    EXPECT_THAT(co_await states(subnets), ElementsAre(R"(changed {"snat":0})"));
    co_await api.send("DELETE", subnets + "/z1-10.9.0.0-24");
    EXPECT_THAT(co_await states(subnets), ElementsAre("deleted {}"));
    EXPECT_EQ(co_await api.send("POST", "/cluster/sdn/rollback"), nullptr);
    EXPECT_THAT(co_await states(vnets), ElementsAre("- "));
    EXPECT_THAT(co_await states(subnets), ElementsAre("- "));
  });
}

TEST(Sdn, survivesARestartWithItsBookingsAndItsLock) {
  const node::testing::TemporaryDirectory directory;
  std::string token;
  with_node(directory.path(), [&](VmApi& api) -> awaitable<void> {
    co_await make_network(api);
    co_await apply(api);
    co_await make_vm(api, 100, "virtio,bridge=v1");
    co_await api.send("POST", zones, {{"zone", "z2"}, {"type", "simple"}});
    const json::value got =
        co_await api.send("POST", "/cluster/sdn/lock", {{"allow-pending", "1"}});
    token = std::string{got.as_string()};
  });
  with_node(directory.path(), [&](VmApi& api) -> awaitable<void> {
    EXPECT_THAT(co_await bookings(api), ElementsAre("10.9.0.10 100"));
    EXPECT_EQ((co_await api.send("GET", zones, {{"running", "1"}})).as_array().size(), 1U);
    EXPECT_EQ((co_await api.send("GET", zones)).as_array().size(), 2U);
    EXPECT_THAT(co_await api.refused("DELETE", zones + "/z2", {}),
                HasSubstr("delete sdn zone object failed: invalid lock token provided!"));
    EXPECT_EQ(co_await api.refused("DELETE", zones + "/z2", {{"lock-token", token}}), "");
  });
}

TEST(SdnLock, isRefusedWhileChangesArePending) {
  with_node([](VmApi& api) -> awaitable<void> {
    co_await make_network(api);
    EXPECT_EQ(co_await api.refused("POST", "/cluster/sdn/lock", {}),
              "500 could not acquire lock for SDN config: configuration has pending changes");
    co_await apply(api);
    EXPECT_EQ(co_await api.refused("POST", "/cluster/sdn/lock", {}), "");
    EXPECT_THAT(co_await api.refused("PUT", "/cluster/sdn", {}),
                HasSubstr("could not commit SDN config: invalid lock token provided!"));
    EXPECT_THAT(co_await api.refused("DELETE", "/cluster/sdn/lock", {{"lock-token", "no"}}),
                HasSubstr("could not release lock: invalid lock token provided!"));
    EXPECT_EQ(co_await api.refused("DELETE", "/cluster/sdn/lock", {{"force", "1"}}), "");
    co_await apply(api);
  });
}

TEST(VmAddresses, areBookedFromCreateToDestroy) {
  with_node([](VmApi& api) -> awaitable<void> {
    co_await make_network(api);
    co_await make_vm(api, 100, "virtio,bridge=v1");
    EXPECT_THAT(co_await bookings(api), IsEmpty()) << "nothing is applied yet";
    co_await apply(api);
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK") << "a start books what lacks";
    EXPECT_THAT(co_await bookings(api), ElementsAre("10.9.0.10 100"));
    co_await make_vm(api, 101, "virtio,bridge=v1");
    co_await make_vm(api, 102, "virtio,bridge=v1");
    EXPECT_THAT(co_await bookings(api), ElementsAre("10.9.0.10 100", "10.9.0.11 101"))
        << "the range has two addresses; the third VM is made all the same";
    EXPECT_EQ(co_await api.task("POST", "/102/status/start"),
              "start failed: QEMU exited with code 1");
    EXPECT_EQ(co_await api.vm("PUT", "/101/config", {{"net0", "virtio,bridge=vmbr0"}}), nullptr);
    EXPECT_EQ(co_await api.task("POST", "/102/status/start"), "OK");
    EXPECT_THAT(co_await bookings(api), ElementsAre("10.9.0.10 100", "10.9.0.11 102"));
    EXPECT_EQ(co_await api.task("POST", "/102/status/stop"), "OK");
    EXPECT_EQ(co_await api.task("DELETE", "/102"), "OK");
    EXPECT_THAT(co_await bookings(api), ElementsAre("10.9.0.10 100"));
  });
}

TEST(VmAddresses, followANicThatIsPluggedMovedAndUnplugged) {
  with_node([](VmApi& api) -> awaitable<void> {
    co_await make_network(api);
    co_await apply(api);
    co_await make_vm(api, 100, "virtio=BC:24:11:00:00:01,bridge=vmbr0");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    EXPECT_EQ(
        co_await api.vm("PUT", "/100/config", {{"net0", "virtio=BC:24:11:00:00:01,bridge=v1"}}),
        nullptr);
    EXPECT_THAT(co_await bookings(api), ElementsAre("10.9.0.10 100")) << "moved while it runs";
    EXPECT_EQ(co_await api.option(100, "net0"), "virtio=BC:24:11:00:00:01,bridge=v1");
    EXPECT_EQ(co_await api.vm("PUT", "/100/config", {{"net1", "virtio,bridge=v1"}}), nullptr);
    EXPECT_THAT(co_await bookings(api), ElementsAre("10.9.0.10 100", "10.9.0.11 100"));
    EXPECT_EQ(co_await api.vm("PUT", "/100/config", {{"delete", "net1"}}), nullptr);
    EXPECT_THAT(co_await bookings(api), ElementsAre("10.9.0.10 100"));
    EXPECT_THAT(co_await api.refusal("PUT", "/100/config", {{"net1", "virtio,bridge=none"}}),
                HasSubstr("bridge 'none' does not exist"));
  });
}

TEST(VmAddresses, stayWhenOnlyTheFirewallOfACardChanges) {
  with_node([](VmApi& api) -> awaitable<void> {
    co_await make_network(api);
    co_await apply(api);
    co_await make_vm(api, 100, "virtio=BC:24:11:00:00:01,bridge=v1");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    co_await api.send(
        "PUT", "/cluster/sdn/vnets/v1/ips",
        {{"zone", "z1"}, {"ip", "10.9.0.11"}, {"mac", "BC:24:11:00:00:01"}, {"vmid", "100"}});
    co_await api.vm("PUT", "/100/config",
                    {{"net0", "virtio=BC:24:11:00:00:01,bridge=v1,firewall=1"}});
    EXPECT_THAT(co_await bookings(api), ElementsAre("10.9.0.11 100"));
  });
}

TEST(VmAddresses, lackNoBridgeAtStart) {
  with_node([](VmApi& api) -> awaitable<void> {
    co_await make_network(api);
    co_await make_vm(api, 100, "virtio,bridge=v1");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "bridge 'v1' does not exist")
        << "it is not applied";
    co_await apply(api);
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
  });
}

TEST(Ipam, countsThroughAWholeSubnetWithoutRanges) {
  Ipam ipam;
  const Subnet subnet = subnet_of("z1-10.9.0.0-30", {{"vnet", "v1"}});
  ipam.add_subnet(subnet);
  Ipam::Booking gateway;
  gateway.gateway = true;
  ipam.add(subnet, "10.9.0.1", gateway);
  EXPECT_EQ(ipam.add_next_free(subnet, {.vmid = 1, .hostname = {}, .mac = "a"}), "10.9.0.2");
  EXPECT_THROW(ipam.add_next_free(subnet, {.vmid = 2, .hostname = {}, .mac = "b"}), ApiError);
  EXPECT_THROW(ipam.remove_subnet(subnet), ApiError);
  ipam.remove(subnet, "10.9.0.2", "a");
  ipam.remove_subnet(subnet);
}

TEST(Ipam, countsInIpv6) {
  Ipam ipam;
  const Subnet subnet =
      subnet_of("z1-fd00::-64",
                {{"vnet", "v1"},
                 {"dhcp-range", json::array{"start-address=fd00::ff,end-address=fd00::1:0"}}});
  ipam.add_subnet(subnet);
  EXPECT_EQ(ipam.add_next_free(subnet, {.vmid = 1, .hostname = {}, .mac = "a"}), "fd00::ff");
  EXPECT_EQ(ipam.add_next_free(subnet, {.vmid = 2, .hostname = {}, .mac = "b"}), "fd00::100");
  EXPECT_EQ(ipam.of_mac("b", "z1").v6, "fd00::100");
}

}  // namespace
}  // namespace px::node
