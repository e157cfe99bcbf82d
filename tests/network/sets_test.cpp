// What is decided from a server's lists: whose, free, in the way, how many.
#include "network/sets.hpp"

#include "network/leases.hpp"
#include "support/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::network {
namespace {

using pve::VnetId;
using pve::ZoneId;
using pve::sdn::State;
using pve::sdn::Vnet;
using pve::sdn::Zone;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::string run = "1a2b3c4d";

Zone zone(const char* id, State state = State::applied, const char* type = "simple") {
  return {ZoneId::parse(id), type, "", state};
}
Vnet vnet(const char* id, const char* zone, std::string alias, State state = State::applied) {
  return {VnetId::parse(id), ZoneId::parse(zone), std::move(alias), state};
}

/// "abc123z: abc123v0 abc123v1 of 1a2b3c4d", for each.
std::vector<std::string> texts(const std::vector<Remains>& sets) {
  std::vector<std::string> out;
  for (const auto& set : sets) {
    auto text = set.zone.text() + ":";
    for (const auto& id : set.vnets) text += " " + id.text();
    out.push_back(text + " of " + set.run);
  }
  return out;
}

struct OwnerRow {
  const char* name;
  std::vector<Zone> zones;
  std::vector<Vnet> vnets;
  std::vector<std::string> ours;
};

class Ownership : public ::testing::TestWithParam<OwnerRow> {};

TEST_P(Ownership, isTakenFromNamesAndMarks) {
  EXPECT_EQ(texts(ours_of(GetParam().zones, GetParam().vnets)), GetParam().ours);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Ownership,
    ::testing::Values(
        OwnerRow{"ofARun",
                 {zone("abc123z")},
                 {vnet("abc123v0", "abc123z", mark_alias("lan", run)),
                  vnet("abc123v1", "abc123z", mark_alias("", run))},
                 {"abc123z: abc123v0 abc123v1 of 1a2b3c4d"}},
        OwnerRow{"ofTheExistingProvider",
                 {zone("abc123z")},
                 {vnet("abc123v0", "abc123z", "lan")},
                 {"abc123z: abc123v0 of "}},
        OwnerRow{"aZoneThatGotNoFurther", {zone("abc123z", State::created)}, {}, {"abc123z: of "}},
        OwnerRow{"thePermanentOne", {zone("inspvmz")}, {vnet("inspvmv0", "inspvmz", "")}, {}},
        OwnerRow{"anothersZone", {zone("office")}, {vnet("lan", "office", "office")}, {}},
        OwnerRow{"anothersVnetInAZoneNamedLikeOurs",
                 {zone("abc123z")},
                 {vnet("abc123v0", "abc123z", mark_alias("lan", run)),
                  vnet("office", "abc123z", "office")},
                 {}},
        OwnerRow{"ofTwoRuns",
                 {zone("abc123z")},
                 {vnet("abc123v0", "abc123z", mark_alias("", run)),
                  vnet("abc123v1", "abc123z", mark_alias("", "00000000"))},
                 {}},
        OwnerRow{"anotherType", {zone("abc123z", State::applied, "vlan")}, {}, {}},
        OwnerRow{"whoseRemovalIsPending",
                 {zone("abc123z", State::deleted)},
                 {vnet("abc123v0", "abc123z", mark_alias("", run), State::deleted)},
                 {"abc123z: abc123v0 of 1a2b3c4d"}}),
    [](const auto& info) { return info.param.name; });

TEST(FreePrefixes, haveNeitherZoneNorVnetNorGroup) {
  const Survey there{{zone("abc007z")}, {vnet("abc008v9", "other", "")}, {}, {"abc000v0"}};
  const auto free = free_prefixes(there, "abc", 6);
  EXPECT_EQ(free.at(0), "abc006");
  EXPECT_EQ(free.at(1), "abc009");
  EXPECT_EQ(free.back(), "abc005");
  EXPECT_EQ(free.size(), 997U);
}

TEST(PendingChanges, namesThem) {
  const Survey there{
      {zone("abc", State::created), zone("old")}, {vnet("lan", "old", "", State::deleted)}, {}};
  EXPECT_THAT(pending_changes(there), ElementsAre("zone abc (new)", "VNet lan (deleted)"));
}

Plan plan_with(const std::string& cidr, const std::string& gateway) {
  return parse_plan(json::parse(
      fmt::format(R"({{"use_pve_ipam_dnsnmasq": false, "vnet_configs": [{{"alias": "wire"}},
                      {{"alias": "lan", "subnets": [{{"cidr": "{}", "gateway": "{}", "snat": false,
                       "dhcp_ranges": []}}]}}]}})",
                  cidr, gateway),
      "the test"));
}

Taken taken(const char* cidr, const char* of_zone = nullptr) {
  Taken out{Cidr::around("", cidr), "someone"};
  if (of_zone != nullptr) out.zone = ZoneId::parse(of_zone);
  return out;
}

TEST(Conflict, namesTheSubnetThatSomeoneHas) {
  const auto plan = plan_with("10.1.0.0/24", "10.1.0.1");
  EXPECT_FALSE(conflict_of(plan, {taken("10.1.1.0/24"), taken("fd00::/8")}));
  const auto conflict = conflict_of(plan, {taken("10.9.0.0/24"), taken("10.0.0.0/8")});
  ASSERT_TRUE(conflict);
  EXPECT_EQ(conflict->field, "sdn_config.vnet_configs[1].subnets[0].cidr");
  EXPECT_EQ(conflict->taken.cidr.text(), "10.0.0.0/8");
}

TEST(TakenWithout, leavesOutSetsThatWillBeGone) {
  const Survey there{{}, {}, {taken("10.1.0.0/24", "abc123z"), taken("10.2.0.0/24")}};
  EXPECT_EQ(taken_without(there, {{ZoneId::parse("abc123z"), {}}}).size(), 1U);
  EXPECT_EQ(taken_without(there, {}).size(), 2U);
}

SharedSet set_of(const Plan& plan, const char* zone) {
  return std::make_shared<NetworkSet>(NetworkSet{plan, plan.key(), ZoneId::parse(zone), {}});
}

TEST(Shelf, givesASetToOneAtATime) {
  const auto plan = parse_plan("auto");
  Shelf shelf;
  shelf.put(set_of(plan, "abc001z"));
  const auto set = shelf.take(plan.key());
  ASSERT_TRUE(set);
  EXPECT_FALSE(shelf.take(plan.key()));
  EXPECT_EQ(shelf.count(plan.key()), 1U);
  shelf.give_back(set);
  EXPECT_EQ(shelf.take(plan.key()), set) << "the next sample has the same one";
}

TEST(Shelf, keepsWhatIsInUseWhenTheRestIsTakenOut) {
  const auto plan = parse_plan("auto");
  Shelf shelf;
  shelf.put(set_of(plan, "abc001z"));
  shelf.put(set_of(plan, "abc002z"));
  const auto set = shelf.take(plan.key());
  EXPECT_EQ(shelf.take_out_free().size(), 1U);
  EXPECT_EQ(shelf.count(plan.key()), 1U);
  shelf.give_back(set);
  EXPECT_THAT(shelf.take_out_free(), ElementsAre(set));
}

TEST(Shelf, takesOutOnlyWhatIsInTheWay) {
  const auto old = plan_with("10.1.0.0/24", "10.1.0.1");
  const auto other = plan_with("10.2.0.0/24", "10.2.0.1");
  Shelf shelf;
  shelf.put(set_of(old, "abc001z"));
  shelf.put(set_of(other, "abc002z"));
  EXPECT_THAT(shelf.take_out_in_the_way_of(old), IsEmpty()) << "of the same plan";
  EXPECT_EQ(shelf.take_out_in_the_way_of(plan_with("10.1.0.0/16", "10.1.0.1")).size(), 1U);
  EXPECT_EQ(shelf.count(other.key()), 1U);
}

TEST(SetsToMake, areAsManyAsSamplesRunAtOnce) {
  const auto automatic = parse_plan("auto");
  EXPECT_EQ(sets_to_make(automatic, 0, 0), 10U);
  EXPECT_EQ(sets_to_make(automatic, 10, 1), 10U) << "twice as many, with one apply";
  EXPECT_EQ(sets_to_make(automatic, 20, 1), 10U);
  EXPECT_EQ(sets_to_make(automatic, 10, 30), 30U) << "for all who wait";
  Plan wires;
  wires.vnets.resize(4);
  EXPECT_EQ(sets_to_make(wires, 0, 0), 5U) << "not more than 20 VNets at first";
  wires.vnets.resize(10);
  EXPECT_EQ(sets_to_make(wires, 0, 0), 2U);
}

TEST(SetsToMake, isOneForFixedRanges) {
  const auto fixed = plan_with("10.1.0.0/24", "10.1.0.1");
  EXPECT_EQ(sets_to_make(fixed, 0, 5), 1U);
  EXPECT_EQ(sets_to_make(fixed, 1, 5), 0U);
}

}  // namespace
}  // namespace px::network
