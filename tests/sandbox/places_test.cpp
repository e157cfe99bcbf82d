// Which sample goes to which host, decided without a server.
#include "sandbox/places.hpp"

#include "sandbox/health.hpp"
#include "sandbox/room.hpp"
#include "sandbox/start_ramp.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::sandbox {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t gib = std::int64_t{1} << 30;

Spec spec_of(std::vector<std::pair<int, int>> gib_and_cores) {
  Spec out;
  for (const auto& [memory, cores] : gib_and_cores) {
    VmSpec vm;
    vm.name = "vm" + std::to_string(out.vms.size() + 1);
    vm.ram_mb = memory * 1024;
    vm.vcpus = cores;
    out.vms.push_back(std::move(vm));
  }
  return out;
}

Room room_of(int memory_gib, int cores) {
  Room out;
  out.size = {memory_gib * gib, cores};
  out.reserve = 1 * gib;
  return out;
}

// --- room ----------------------------------------------------------------------------------------

TEST(Room, isWhatNobodyHoldsLessTheReserve) {
  auto room = room_of(16, 64);
  EXPECT_EQ(room.fits({2 * gib, 2}), 7);  // 15 GiB
  room.others = {4 * gib, 0};
  EXPECT_EQ(room.fits({2 * gib, 2}), 5);
  room.ours = {8 * gib, 0};
  EXPECT_EQ(room.fits({2 * gib, 2}), 1);
  EXPECT_EQ(room.fits({4 * gib, 2}), 0);
}

TEST(Room, sharesCoresInTimeButNotWithoutEnd) {
  auto room = room_of(1000, 4);
  EXPECT_EQ(room.fits({gib, 2}), 16);
  room.ours = {0, 30};
  room.samples = 15;
  EXPECT_EQ(room.fits({gib, 2}), 1);
  EXPECT_EQ(room.fits({gib, 4}), 0);
  // But an empty host takes a sample of many VMs.
  EXPECT_EQ(room_of(1000, 2).fits({gib, 40}), 1);
}

TEST(Room, isTheNumberThatTheConfigurationSays) {
  auto room = room_of(1, 1);
  room.most_samples = 3;
  room.samples = 1;
  EXPECT_EQ(room.fits({64 * gib, 16}), 2);
  room.samples = 5;
  EXPECT_EQ(room.fits({64 * gib, 16}), 0);
}

TEST(Room, isUnlimitedWhereTheServerTellsNothing) {
  EXPECT_GT(Room{}.fits({64 * gib, 16}), 1'000'000);
}

TEST(Room, saysWhatCanNeverBeThere) {
  const auto room = room_of(8, 4);
  EXPECT_THAT(room.refusal_of(spec_of({{4, 2}, {2, 2}}), "pve1"), IsEmpty());
  EXPECT_EQ(room.refusal_of(spec_of({{4, 2}, {4, 2}}), "pve1"),
            "pve1 has 8.0 GiB, 7.0 GiB of them for samples");
  EXPECT_EQ(room.refusal_of(spec_of({{1, 5}}), "pve1"),
            "pve1 has 4 cores, and no VM may have more");
  EXPECT_THAT(Room{}.refusal_of(spec_of({{512, 64}}), "pve1"), IsEmpty());
}

TEST(Room, namesEachVmOfASample) {
  EXPECT_EQ(share_text(spec_of({{2, 1}})), "2.0 GiB and 1 vCPU");
  EXPECT_EQ(share_text(spec_of({{2, 4}, {1, 2}})),
            "3.0 GiB and 6 vCPUs (vm1: 2.0 GiB and 4 vCPUs, vm2: 1.0 GiB and 2 vCPUs)");
}

// --- the choice ----------------------------------------------------------------------------------

TEST(Choice, isTheHostWhereMostMoreFit) {
  EXPECT_EQ(choose_host({{.fits = 2}, {.fits = 5}, {.fits = 3}}), 1U);
  EXPECT_EQ(choose_host({{.fits = 2, .free_memory = 1}, {.fits = 2, .free_memory = 2}}), 1U);
  EXPECT_EQ(choose_host({{.fits = 2, .samples = 2}, {.fits = 2, .samples = 1}}), 1U);
}

TEST(Choice, isNoneThatIsIllOrFullOrFlooded) {
  EXPECT_EQ(choose_host({{.is_well = false, .fits = 9}, {.fits = 1}}), 1U);
  EXPECT_EQ(choose_host({{.may_start = false, .fits = 9}, {.fits = 1}}), 1U);
  EXPECT_EQ(choose_host({{.fits = 0}, {.may_start = false, .fits = 9}}), std::nullopt);
  EXPECT_EQ(choose_host({}), std::nullopt);
}

// --- health --------------------------------------------------------------------------------------

class HealthOverTime : public ::testing::Test {
 protected:
  SteadyTime at(std::chrono::seconds second) const { return SteadyTime{} + 1h + second; }
  Health health_;
};

TEST_F(HealthOverTime, setsAsideForAPauseThatGrowsWithEachFailure) {
  auto now = at(0s);
  for (const auto pause : {10s, 20s, 40s, 80s, 160s, 320s, 600s, 600s}) {
    health_.failed(now, now, "unreachable");
    EXPECT_FALSE(health_.is_well());
    EXPECT_FALSE(health_.is_due(now + pause - 1s)) << pause.count();
    EXPECT_TRUE(health_.is_due(now + pause)) << pause.count();
    now += pause + 1s;
  }
}

TEST_F(HealthOverTime, countsWhatOneBlowEndsAsOneFailure) {
  health_.failed(at(0s), at(5s), "first");
  health_.failed(at(1s), at(6s), "second");
  health_.failed(at(2s), at(7s), "third");
  EXPECT_TRUE(health_.is_due(at(15s)));
  EXPECT_THAT(health_.text(at(6s)), HasSubstr("for 9 s more: first"));
}

TEST_F(HealthOverTime, forgetsOldFailuresOnceASampleWasWell) {
  health_.failed(at(0s), at(0s), "x");
  health_.failed(at(10s), at(10s), "x");
  health_.returned();
  EXPECT_TRUE(health_.is_well());
  health_.failed(at(40s), at(40s), "x");
  EXPECT_FALSE(health_.is_due(at(79s)));  // 40 s now
  health_.returned();
  health_.proved();
  health_.failed(at(100s), at(100s), "x");
  EXPECT_TRUE(health_.is_due(at(110s)));
}

// --- the ramp ------------------------------------------------------------------------------------

TEST(StartRamp, beginsWithFewAndGrowsWithGoodStarts) {
  StartRamp ramp;
  int started = 0;
  while (ramp.may_start()) ramp.began(), ++started;
  EXPECT_EQ(started, 4);
  for (int i = 0; i < 4; ++i) ramp.ended_well(1s);
  EXPECT_EQ(ramp.allowed(), 8);
  for (int i = 0; i < 1000; ++i) ramp.began(), ramp.ended_well(1s);
  EXPECT_EQ(ramp.allowed(), 64);
}

TEST(StartRamp, halvesOnceForOneFloodAndThenGrowsSlowly) {
  StartRamp ramp;
  for (int i = 0; i < 12; ++i) ramp.began(), ramp.ended_well(1s);
  ASSERT_EQ(ramp.allowed(), 16);
  for (int i = 0; i < 9; ++i) ramp.began();
  for (int i = 0; i < 8; ++i) ramp.ended_well(20s);
  EXPECT_EQ(ramp.allowed(), 8);
  ramp.failed();
  EXPECT_EQ(ramp.allowed(), 4);
  for (int i = 0; i < 4; ++i) ramp.began(), ramp.ended_well(1s);
  EXPECT_EQ(ramp.allowed(), 4);
  ramp.began(), ramp.ended_well(1s);
  EXPECT_EQ(ramp.allowed(), 5);
}

TEST(StartRamp, neverStopsAltogether) {
  StartRamp ramp;
  for (int i = 0; i < 100; ++i) ramp.began(), ramp.failed();
  EXPECT_TRUE(ramp.may_start());
}

TEST(StartRamp, isNotMovedByACancelledStart) {
  StartRamp ramp;
  ramp.began();
  ramp.ended();
  EXPECT_EQ(ramp.allowed(), 4);
  EXPECT_EQ(ramp.starting(), 0);
}

// --- whose fault ---------------------------------------------------------------------------------

TEST(Faults, areTheServersOnlyWhereAnotherOneMayDoBetter) {
  const auto fault = [](Errc kind, bool is_made) { return is_servers_fault({kind, ""}, is_made); };
  for (const auto kind : {Errc::unreachable, Errc::tls, Errc::auth, Errc::proxy}) {
    EXPECT_TRUE(fault(kind, false)) << name_of(kind);
    EXPECT_TRUE(fault(kind, true)) << name_of(kind);
  }
  for (const auto kind : {Errc::server, Errc::task_failed, Errc::busy, Errc::timeout}) {
    EXPECT_TRUE(fault(kind, false)) << name_of(kind);
    EXPECT_FALSE(fault(kind, true)) << name_of(kind) << ": a guest's own";
  }
  for (const auto kind : {Errc::bad_input, Errc::unsupported, Errc::agent_down, Errc::rejected}) {
    EXPECT_FALSE(fault(kind, false)) << name_of(kind);
  }
}

}  // namespace
}  // namespace px::sandbox
