// What a run's record says, and who is told by it that the run lives.
#include "sandbox/run_record.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace px::sandbox {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::sys_seconds eve{1'764'111'600s};

RunRecord record_of_alice() {
  return {.run = "1a2b3c4d",
          .node = "pve-1",
          .owner = "alice@desk, process 4711",
          .since = eve,
          .renewed = eve + 1h};
}

TEST(RunRecords, surviveTheWayThroughAPool) {
  for (const bool kept : {false, true}) {
    auto record = record_of_alice();
    record.kept = kept;
    const auto read = RunRecord::of(record.pool(), record.comment());
    ASSERT_TRUE(read) << record.comment();
    EXPECT_EQ(read->run, "1a2b3c4d");
    EXPECT_EQ(read->node, "pve-1");
    EXPECT_EQ(read->owner, "alice@desk, process 4711");
    EXPECT_EQ(read->since, eve);
    EXPECT_EQ(read->renewed, eve + 1h);
    EXPECT_EQ(read->kept, kept);
  }
}

TEST(RunRecords, areReadableForPeople) {
  EXPECT_EQ(record_of_alice().pool(), "inspect-1a2b3c4d-pve-1");
  auto changing = record_of_alice();
  changing.change = {.token = "0A1b-2c", .zones = {pve::ZoneId::parse("px001z")}};
  EXPECT_THAT(changing.comment(), ::testing::HasSubstr(", SDN 0A1b-2c px001z, owner "));
  EXPECT_EQ(RunRecord::of(changing.pool(), changing.comment())->change.text(), "0A1b-2c px001z");
  EXPECT_EQ(record_of_alice().comment(),
            "Proxmox Sandbox run 1a2b3c4d: since 2025-11-25T23:00:00Z, renewed "
            "2025-11-26T00:00:00Z, owner alice@desk, process 4711");
}

struct Decoy {
  std::string name;
  std::string pool;
  std::string comment;
};

class RunRecordDecoy : public ::testing::TestWithParam<Decoy> {};

TEST_P(RunRecordDecoy, isNoRecord) {
  EXPECT_FALSE(RunRecord::of(GetParam().pool, GetParam().comment));
}

INSTANTIATE_TEST_SUITE_P(
    Pools, RunRecordDecoy,
    ::testing::Values(Decoy{"named_like_one_without_a_comment", "inspect-1a2b3c4d-pve-1", ""},
                      Decoy{"named_like_one_with_a_comment_of_somebody", "inspect-1a2b3c4d-pve-1",
                            "our team's"},
                      Decoy{"with_the_comment_of_another_run", "inspect-00000000-pve-1",
                            record_of_alice().comment()},
                      Decoy{"with_a_copied_comment", "team", record_of_alice().comment()},
                      Decoy{"whose_times_are_none", "inspect-1a2b3c4d-pve-1",
                            "Proxmox Sandbox run 1a2b3c4d: since today, renewed now, owner alice"},
                      Decoy{"whose_run_is_none", "inspect-1a2b-pve-1",
                            "Proxmox Sandbox run 1a2b: since 2025-11-25T23:00:00Z, renewed "
                            "2025-11-26T00:00:00Z, owner alice"}),
    [](const auto& each) { return each.param.name; });

struct Judged {
  std::string name;
  std::chrono::seconds since_renewal;
  bool kept;
  Life life;
};

class RunRecordLife : public ::testing::TestWithParam<Judged> {};

TEST_P(RunRecordLife, followsFromTheTimeOfItsRenewal) {
  auto record = record_of_alice();
  record.kept = GetParam().kept;
  EXPECT_EQ(record.life(record.renewed + GetParam().since_renewal), GetParam().life);
}

INSTANTIATE_TEST_SUITE_P(Ages, RunRecordLife,
                         ::testing::Values(Judged{"just_renewed", 0s, false, Life::alive},
                                           Judged{"four_renewals_missed", 299s, false, Life::alive},
                                           Judged{"five_minutes_silent", 300s, false, Life::dead},
                                           Judged{"kept_and_still_renewed", 10s, true, Life::alive},
                                           Judged{"kept_and_silent", 300s, true, Life::kept},
                                           Judged{"a_little_ahead", -60s, false, Life::alive},
                                           Judged{"far_ahead_of_a_clock_set_back", -301s, false,
                                                  Life::unknown}),
                         [](const auto& each) { return each.param.name; });

FoundRecord found(const std::string& run, Life life) {
  return {.record = {.run = run, .node = "pve"}, .life = life, .age = 1h};
}

TEST(RunLives, areWhatThisMachineKnowsAndElseWhatRecordsSay) {
  const auto here = [](const std::string& run) -> RunLife {
    if (run == "dddddddd") return {Life::dead, 2h};
    if (run == "eeeeeeee") return {Life::alive, 2h};
    return {};
  };
  const auto life_of =
      with_records(here, {found("dddddddd", Life::alive), found("eeeeeeee", Life::dead),
                          found("aaaaaaaa", Life::alive), found("bbbbbbbb", Life::dead)});
  EXPECT_EQ(life_of("dddddddd").life, Life::dead) << "of this machine";
  EXPECT_EQ(life_of("eeeeeeee").life, Life::alive) << "of this machine";
  EXPECT_EQ(life_of("aaaaaaaa").life, Life::alive);
  EXPECT_EQ(life_of("aaaaaaaa").age, 1h);
  EXPECT_EQ(life_of("bbbbbbbb").life, Life::dead);
  EXPECT_EQ(life_of("0a0a0a0a").life, Life::unknown) << "nobody says anything";
}

TEST(RunLives, areOfTheRecordThatSaysMost) {
  const auto nothing = [](const std::string&) { return RunLife{}; };
  const auto life = [&](Life one, Life other) {
    return with_records(nothing, {found("aaaaaaaa", one), found("aaaaaaaa", other)})("aaaaaaaa")
        .life;
  };
  EXPECT_EQ(life(Life::dead, Life::alive), Life::alive);
  EXPECT_EQ(life(Life::alive, Life::dead), Life::alive);
  EXPECT_EQ(life(Life::kept, Life::dead), Life::kept);
  EXPECT_EQ(life(Life::dead, Life::unknown), Life::unknown) << "it may live";
}

}  // namespace
}  // namespace px::sandbox
