#include "guest/diagnosis.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::guest {
namespace {

using namespace std::chrono_literals;
using Reach = Sight::Reach;
using ::testing::HasSubstr;

constexpr auto patience = 8s;
const VmWords victim{"VM 101 (victim) on node pve1", "https://pve1:8006/?console"};

Sight running(std::string qmp_status, std::string lock = "") {
  Sight sight;
  sight.status = {.running = true, .qmp_status = std::move(qmp_status), .lock = std::move(lock)};
  sight.status.uptime = 42;
  return sight;
}

Sight starved() {
  Sight sight = running("running");
  sight.status.cpu_pressure = 50;
  return sight;
}

/// What was noted, at seconds from the start of the silence.
struct Noted {
  std::vector<std::chrono::milliseconds> misses{};
  std::vector<std::chrono::milliseconds> silent_looks{};
  std::chrono::milliseconds now{};
};

struct Row {
  std::string name;
  Sight sight;
  Noted noted;
  std::string said;  ///< part of the error; empty: may be alive
};

class CauseOfDeath : public ::testing::TestWithParam<Row> {};

TEST_P(CauseOfDeath, isTold) {
  const auto& [name, sight, noted, said] = GetParam();
  const Silence::Time start{1h};
  Silence silence;
  for (const auto at : noted.misses) silence.missed(start, start + at);
  for (const auto at : noted.silent_looks) silence.looked(sight.reach, start, start + at);
  const auto cause = cause_of_death(sight, silence, patience, start + noted.now, victim);
  if (said.empty()) {
    EXPECT_FALSE(cause) << cause->what();
    return;
  }
  ASSERT_TRUE(cause);
  EXPECT_EQ(cause->kind, Errc::unavailable);
  EXPECT_THAT(cause->what(), HasSubstr(said));
}

const Sight stopped = [] {
  Sight sight = running("stopped");
  sight.status.running = false;
  return sight;
}();
const Noted nothing{};
const Noted one_miss{{3s}, {}, 3s};
const Noted two_misses{{3s, 6s}, {}, 6s};
const Noted long_silence{{3s, 6s}, {}, 8s};

INSTANTIATE_TEST_SUITE_P(
    Row, CauseOfDeath,
    ::testing::Values(
        Row{"aStoppedVmAtOnce", stopped, nothing, "VM 101 (victim) on node pve1 is stopped. "},
        Row{"aDeletedVmAtOnce", {.there = false}, nothing, "VM 101 (victim) on node pve1 is gone"},
        Row{"aPanickedKernelAtOnce", running("guest-panicked"), one_miss,
            "is dead: its kernel panicked (status running, qmpstatus guest-panicked, up 42 s)"},
        Row{"aFullStorageAtOnce", running("io-error"), one_miss,
            "is paused by an I/O error: the storage of its disks is full, or fails (status "
            "running, qmpstatus io-error, up 42 s). Make room on that storage"},
        Row{"anErrorInQemuAtOnce", running("internal-error"), one_miss, "error inside QEMU"},
        Row{"aFullStorageUnderALock", running("io-error", "backup"), one_miss, "io-error"},
        Row{"pausedForLong", running("paused"), long_silence, "is paused (status running"},
        Row{"pausedForAMoment", running("paused"), two_misses, ""},
        Row{"pausedByABackup", running("paused", "backup"), long_silence, ""},
        Row{"memoryBeingSaved", running("save-vm"), long_silence, ""},
        Row{"snapshotBeingMade", running("running", "snapshot"), long_silence, ""},
        Row{"aStateOfQemuThatIsNew", running("brand-new"), long_silence,
            "does not answer, though the VM runs (status running, qmpstatus brand-new"},
        Row{"aSilentAgentForLong", running("running"), long_silence,
            "the guest agent of VM 101 (victim) on node pve1 does not answer, though the VM runs "
            "(status running, qmpstatus running, up 42 s; silent for 8 s). Was the agent ended in "
            "the guest, or does the guest hang? Its console: https://pve1:8006/?console"},
        Row{"aSilentAgentNotYet", running("running"), {{3s, 6s}, {}, 7999ms}, ""},
        Row{"aStarvedGuestNotYet", starved(), {{3s, 6s}, {}, 39999ms}, ""},
        Row{"aStarvedGuestAtLast",
            starved(),
            {{3s, 6s}, {}, 40s},
            "silent for 40 s). Its node has too few processors for what runs there. Its console"},
        Row{"anAgentThatMissedOnce", running("running"), {{3s}, {}, 30s}, ""},
        Row{"aGuestThatWasNotAsked", running("running"), {{}, {}, 1h}, ""},
        Row{"aBusyServer", {.reach = Reach::busy, .said = "timed out"}, {{3s, 6s}, {}, 30s}, ""},
        Row{"aSilentServerForLong",
            {.reach = Reach::server_silent, .said = "connection refused"},
            {{}, {1s, 8s}, 8s},
            "the server of VM 101 (victim) on node pve1 does not answer (silent for 8 s): "
            "connection refused"},
        Row{"aServerThatRestarts", {.reach = Reach::server_silent}, {{}, {1s, 2s, 3s}, 3s}, ""},
        Row{"aServerThatWasLookedAtOnce", {.reach = Reach::server_silent}, {{}, {9s}, 9s}, ""},
        Row{"aNodeThatIsOffline",
            {.reach = Reach::node_offline},
            nothing,
            "VM 101 (victim) on node pve1 is gone with its node, which is offline"},
        Row{"aSilentNodeForLong",
            {.reach = Reach::node_silent, .said = "No route to host"},
            {{}, {1s, 8s}, 8s},
            "the node of VM 101 (victim) on node pve1 does not answer"}),
    [](const auto& info) { return info.param.name; });

struct ListenRow {
  std::string name;
  Sight sight;
  Noted noted;
  bool listens;
};

class TimeToListen : public ::testing::TestWithParam<ListenRow> {};

TEST_P(TimeToListen, isShortBeforeTheEndOfThePatience) {
  const auto& [name, sight, noted, listens] = GetParam();
  const Silence::Time start{1h};
  Silence silence;
  for (const auto at : noted.misses) silence.missed(start, start + at);
  EXPECT_EQ(is_time_to_listen(sight, silence, patience, start + noted.now), listens);
}

INSTANTIATE_TEST_SUITE_P(
    Row, TimeToListen,
    ::testing::Values(
        ListenRow{"aSilentGuest", running("running"), {{3s}, {}, 5500ms}, true},
        ListenRow{"aGuestThatIsSilentForSeconds", running("running"), {{3s}, {}, 5499ms}, false},
        ListenRow{"aGuestThatWasNotAsked", running("running"), {{}, {}, 1h}, false},
        ListenRow{"aHaltedVm", running("guest-panicked"), long_silence, false},
        ListenRow{"aPausedVm", running("paused"), long_silence, false},
        ListenRow{"aVmThatIsBeingSaved", running("running", "snapshot"), long_silence, false},
        ListenRow{"aStoppedVm", stopped, long_silence, false},
        ListenRow{"aDeletedVm", {.there = false}, long_silence, false},
        ListenRow{"aSilentServer", {.reach = Reach::server_silent}, long_silence, false}),
    [](const auto& info) { return info.param.name; });

TEST(Silence, endsWithAnAnswer) {
  const Silence::Time start{1h};
  Silence silence;
  silence.missed(start, start + 3s);
  silence.missed(start + 3s, start + 6s);
  silence.heard();
  silence.missed(start + 6s, start + 9s);
  EXPECT_EQ(silence.lasting(start + 9s), 3s);
  EXPECT_EQ(silence.misses(), 1);
}

TEST(Silence, ofLongAgoIsNoEvidenceForTheNextRequest) {
  const Silence::Time start{1h};
  Silence silence;
  silence.missed(start, start + 3s);
  silence.asked(start + 4s);
  EXPECT_EQ(silence.misses(), 1) << "the same command asks again";
  silence.ended();
  silence.asked(start + 1min);
  EXPECT_EQ(silence.misses(), 0);
  EXPECT_EQ(silence.lasting(start + 1min), 0s);
}

TEST(Silence, lastsWhileARequestIsUnderWay) {
  const Silence::Time start{1h};
  Silence silence;
  silence.asked(start);
  silence.asked(start);
  silence.missed(start, start + 3s);
  silence.ended();
  silence.asked(start + 10s);
  EXPECT_EQ(silence.misses(), 1) << "the other of the two waits still";
  EXPECT_EQ(silence.lasting(start + 10s), 10s);
}

TEST(Silence, ofAServerEndsWhenItAnswers) {
  const Silence::Time start{1h};
  Silence silence;
  silence.looked(Reach::server_silent, start, start + 4s);
  silence.looked(Reach::busy, start, start + 6s);
  EXPECT_EQ(silence.silent_looks(), 0);
  EXPECT_EQ(silence.lasting(start + 6s), 0s);
}

}  // namespace
}  // namespace px::guest
