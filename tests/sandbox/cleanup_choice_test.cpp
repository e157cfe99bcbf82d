// Which of our things a clean-up takes, by what is known of the runs that they are of.
#include "sandbox/cleanup_choice.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::sandbox {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::chrono::sys_seconds noon{1'764'115'200s};

RunLife life_then(const std::string& run) {
  if (run == "aaaaaaaa") return {Life::alive, 5h};
  if (run == "dddddddd") return {Life::dead, 3h};
  if (run == "0dead0de") return {Life::kept, 1h};
  if (run == "eeeeeeee") return {Life::kept, 3h};
  return {};
}

OwnVm own_vm(int number, const std::string& run, std::optional<std::chrono::seconds> age = {}) {
  OwnVm out{.vm = {pve::NodeName::parse("pve"), pve::Vmid::from_number(number)},
            .name = "web",
            .run = run};
  if (age) out.since = noon - *age;
  return out;
}

Belongings everything_there() {
  Belongings out;
  out.vms = {own_vm(101, "aaaaaaaa", 5h), own_vm(102, "dddddddd", 3h), own_vm(103, "eeeeeeee", 3h),
             own_vm(104, "ffffffff", 2h), own_vm(105, "", {})};
  out.files = {
      {pve::NodeName::parse("n"), pve::VolumeId::parse("local:iso/dead.iso"), "dddddddd", 5},
      {pve::NodeName::parse("n"), pve::VolumeId::parse("local:iso/far.iso"), "ffffffff", 5}};
  out.networks = {{pve::ZoneId::parse("dead0z"), {}, "dddddddd"},
                  {pve::ZoneId::parse("old0z"), {}, ""}};
  return out;
}

FoundRecord record_of(const std::string& run, bool is_here = true) {
  return {.record = {.run = run, .node = "pve"}, .is_here = is_here};
}

/// Of each run, of one that has ended and has nothing left, and of another node.
std::vector<FoundRecord> records_there() {
  return {record_of("aaaaaaaa"), record_of("dddddddd"), record_of("eeeeeeee"),
          record_of("0dead0de"), record_of("dddddddd", false)};
}

/// "remove VM 101 (web) on node pve: why", in the order of the lists; then what is kept.
std::vector<std::string> lines_of(const CleanupSelection& selection) {
  const auto choice = choose(everything_there(), records_there(), selection, life_then, noon);
  std::vector<std::string> out;
  const auto add = [&](const auto& list) {
    for (const auto& [what, why] : list) out.push_back(text_of(what) + ": " + why);
  };
  add(choice.vms);
  add(choice.files);
  add(choice.networks);
  add(choice.records);
  for (const auto& [run, why] : choice.kept) out.push_back("keep " + run + ": " + why);
  return out;
}

TEST(CleanupChoice, ofTheDeadLeavesAloneWhatWasKeptOnPurpose) {
  EXPECT_THAT(
      lines_of({.dead = true}),
      ElementsAre("VM 102 (web) on node pve: run dddddddd is dead",
                  "file local:iso/dead.iso: run dddddddd is dead",
                  "zone dead0z: run dddddddd is dead",
                  "record of run dddddddd (pool inspect-dddddddd-pve): run dddddddd is dead",
                  "record of run 0dead0de (pool inspect-0dead0de-pve): "
                  "run 0dead0de has ended and has nothing here",
                  "keep run eeeeeeee: it was kept on purpose; --run eeeeeeee removes it"));
}

TEST(CleanupChoice, ofARunIsAllOfItAndNothingElse) {
  EXPECT_THAT(lines_of({.id = "aaaaaaaa"}),
              ElementsAre("VM 101 (web) on node pve: run aaaaaaaa, WHICH LIVES",
                          "record of run aaaaaaaa (pool inspect-aaaaaaaa-pve): "
                          "run aaaaaaaa, WHICH LIVES"));
  EXPECT_THAT(lines_of({.id = "eeeeeeee"}),
              ElementsAre("VM 103 (web) on node pve: run eeeeeeee has ended and was kept",
                          "record of run eeeeeeee (pool inspect-eeeeeeee-pve): "
                          "run eeeeeeee has ended and was kept"));
  EXPECT_THAT(lines_of({.id = "105"}), ElementsAre("VM 105 (web) on node pve: it was named"));
  EXPECT_THAT(lines_of({.id = "0a0a0a0a"}), IsEmpty());
}

TEST(CleanupChoice, byAgeIsOfRunsThatAreNotKnownToLive) {
  EXPECT_THAT(
      lines_of({.older = 2h}),
      ElementsAre("VM 102 (web) on node pve: run dddddddd is dead",
                  "VM 104 (web) on node pve: run ffffffff, of which nobody knows whether "
                  "it lives",
                  "file local:iso/dead.iso: run dddddddd is dead",
                  "file local:iso/far.iso: run ffffffff, of which nobody knows whether "
                  "it lives",
                  "zone dead0z: run dddddddd is dead",
                  "record of run dddddddd (pool inspect-dddddddd-pve): run dddddddd is dead",
                  "keep run aaaaaaaa: it lives",
                  "keep run eeeeeeee: it was kept on purpose; --run eeeeeeee removes it"));
  EXPECT_THAT(lines_of({.older = 4h}), ElementsAre("keep run aaaaaaaa: it lives"));
}

/// What a process leaves that dies between a zone and its first VNet, or with the SDN's lock.
TEST(CleanupChoice, ofTheDeadIsWhatTheirRecordsSayThatTheyWereMaking) {
  auto dead = record_of("dddddddd");
  dead.record.change = network::ChangeNote::of("0a1b-2c old0z none0z");
  const auto choice = choose(everything_there(), {dead}, {.dead = true}, life_then, noon);
  ASSERT_EQ(choice.networks.size(), 2U);
  EXPECT_EQ(text_of(choice.networks.back().what), "zone old0z");
  EXPECT_THAT(choice.lock_tokens, ElementsAre("0a1b-2c"));
}

TEST(CleanupChoice, ofEverythingIsAlsoWhatHasNoRun) {
  const auto lines = lines_of({.everything = true});
  EXPECT_EQ(lines.size(), 13U);
  EXPECT_THAT(lines, ::testing::Contains("VM 105 (web) on node pve: no mark of a run"));
  EXPECT_THAT(lines, ::testing::Contains("zone old0z: no mark of a run"));
}

}  // namespace
}  // namespace px::sandbox
