// What is decided from a server's lists of networks and VMs: whose, used by whom, in whose way.
#include "network/inventory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::network {
namespace {

using pve::VnetId;
using pve::ZoneId;
using pve::sdn::State;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::string run = "1a2b3c4d";

pve::sdn::Zone zone(const char* id, State state = State::applied) {
  return {ZoneId::parse(id), "simple", "", state};
}
VnetEntry vnet(const char* id, const char* zone, std::string alias = "") {
  return {{VnetId::parse(id), ZoneId::parse(zone), std::move(alias)}, {}, {}, {}};
}
pve::sdn::Subnet subnet(const char* vnet, const char* cidr, const char* gateway) {
  return {"", VnetId::parse(vnet), cidr, gateway};
}
Guest guest(std::uint32_t vmid, const char* name = "") {
  return {{pve::NodeName::parse("pve1"), pve::Vmid::from_number(vmid)}, name};
}
pve::sdn::Booking booking(const char* ip, std::uint32_t vmid) {
  pve::sdn::Booking out{ZoneId::parse("abc123z"),
                        VnetId::parse("abc123v0"),
                        "10.1.0.0/24",
                        ip,
                        "BC:24:11:00:00:01",
                        std::nullopt};
  if (vmid != 0) out.vmid = pve::Vmid::from_number(vmid);
  return out;
}

/// One zone of a run with one VNet, which has this subnet.
Inventory with_subnet(const char* cidr, const char* gateway) {
  auto entry = vnet("abc123v0", "abc123z", mark_alias("lan", run));
  entry.subnets.push_back(subnet("abc123v0", cidr, gateway));
  Inventory out;
  out.zones = sort_out({zone("abc123z")}, {entry});
  return out;
}

TEST(Inventory, tellsWhoseEachZoneIs) {
  const auto zones =
      sort_out({zone("office"), zone("inspvmz"), zone("abd124z"), zone("abc123z")},
               {vnet("abc123v1", "abc123z", mark_alias("", run)), vnet("office", "office", "x"),
                vnet("abc123v0", "abc123z", mark_alias("lan", run)), vnet("abd124v0", "abd124z"),
                vnet("inspvmv0", "inspvmz")});
  ASSERT_EQ(zones.size(), 4U);
  EXPECT_EQ(zones[0].zone.id.text(), "abc123z") << "by name";
  EXPECT_EQ(zones[0].whose, Whose::run);
  EXPECT_EQ(zones[0].run, run);
  EXPECT_EQ(zones[0].vnets.front().vnet.id.text(), "abc123v0");
  EXPECT_EQ(zones[1].whose, Whose::unmarked);
  EXPECT_EQ(zones[2].whose, Whose::permanent);
  EXPECT_EQ(zones[3].whose, Whose::foreign);
  EXPECT_FALSE(zones[2].removable());
  EXPECT_FALSE(zones[3].removable());
}

TEST(Inventory, knowsWhoseAZoneWasThatIsOnItsWayOut) {
  auto entry = vnet("abc123v0", "abc123z", mark_alias("", run));
  entry.vnet.state = State::deleted;
  const auto zones = sort_out({zone("abc123z", State::deleted)}, {entry});
  EXPECT_EQ(zones.front().run, run);
  EXPECT_FALSE(zones.front().removable());
  EXPECT_THAT(pending_of(zones.front()),
              ElementsAre("zone abc123z (deleted)", "VNet abc123v0 (deleted)"));
}

TEST(Inventory, namesEachVmOfAZoneOnce) {
  auto one = vnet("abc123v0", "abc123z");
  auto two = vnet("abc123v1", "abc123z");
  one.guests = {guest(102), guest(101, "router")};
  two.guests = {guest(101, "router")};
  Inventory inventory;
  inventory.zones = sort_out({zone("abc123z")}, {one, two});
  EXPECT_EQ(use_of(inventory, inventory.zones.front()), "VM 101 (router), VM 102");
}

TEST(Inventory, callsFreeOnlyWhatNobodyCanBeIn) {
  auto inventory = with_subnet("10.1.0.0/24", "10.1.0.1");
  auto& entry = inventory.zones.front().vnets.front();
  EXPECT_EQ(use_of(inventory, inventory.zones.front()), std::nullopt);

  entry.bookings = {booking("10.1.0.77", 0), booking("10.1.0.50", 999)};
  EXPECT_EQ(use_of(inventory, inventory.zones.front()), "10.1.0.50 is booked for 999")
      << "a container, perhaps";
  inventory.orphans = {booking("10.1.0.50", 999)};
  EXPECT_EQ(use_of(inventory, inventory.zones.front()), std::nullopt);

  inventory.unseen = {"node pve2 is offline"};
  EXPECT_EQ(use_of(inventory, inventory.zones.front()), "perhaps: node pve2 is offline");
}

struct OverlapRow {
  const char* name;
  const char* cidr;
  const char* gateway;
  const char* host_range;
  std::size_t overlaps;
};
class Overlaps : public ::testing::TestWithParam<OverlapRow> {};

TEST_P(Overlaps, areFoundBetweenWhatTheHostServes) {
  auto inventory = with_subnet(GetParam().cidr, GetParam().gateway);
  auto other = vnet("office", "office");
  other.subnets = {subnet("office", "10.1.0.0/16", "10.1.0.1")};
  inventory.zones.push_back(sort_out({zone("office")}, {other}).front());
  inventory.host_ranges = {{"vmbr0 of node pve1", Cidr::parse("", GetParam().host_range)},
                           {"vmbr0 of node pve2", Cidr::parse("", GetParam().host_range)}};
  EXPECT_EQ(overlaps_of(inventory).size(), GetParam().overlaps);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Overlaps,
    ::testing::Values(OverlapRow{"none", "10.2.0.0/24", "10.2.0.1", "192.168.1.0/24", 0},
                      OverlapRow{"twoGateways", "10.1.2.0/24", "10.1.2.1", "192.168.1.0/24", 1},
                      OverlapRow{"withoutAGateway", "10.1.2.0/24", "", "192.168.1.0/24", 0},
                      OverlapRow{"withABridgeOfBothNodes", "192.168.1.0/25", "192.168.1.1",
                                 "192.168.1.0/24", 2}),
    [](const auto& row) { return row.param.name; });

TEST(Inventory, findsGroupsOfOursWhoseVnetIsGone) {
  const auto lost = lost_groups_of({{"abc123v0", "closed " + mark_alias("", run)},
                                    {"abd124v0", "closed " + mark_alias("", run)},
                                    {"webserver", "of the office"}},
                                   {vnet("abc123v0", "abc123z")});
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_EQ(lost.front().name, "abd124v0");
  EXPECT_EQ(lost.front().run, run);
}

TEST(Inventory, readsTheBridgesOfAVmsCards) {
  EXPECT_THAT(bridges_of({{"name", "bridge=no"},
                          {"net0", "virtio=BC:24:11:00:00:01,bridge=abc123v0,firewall=1"},
                          {"net10", "bridge=vmbr0,e1000=BC:24:11:00:00:02"},
                          {"net11", "virtio=BC:24:11:00:00:03,bridge=vmbr0"},
                          {"net2", "virtio=BC:24:11:00:00:04"},
                          {"netx", "bridge=vmbr9"}}),
              ElementsAre("abc123v0", "vmbr0"));
  EXPECT_THAT(bridges_of({}), IsEmpty());
}

}  // namespace
}  // namespace px::network
