#include "guest/run_machine.hpp"

#include <gtest/gtest.h>

namespace px::guest {
namespace {

using namespace std::chrono_literals;
using Action = RunMachine::Action;

LaunchEnd ended() {
  return {0, "x 0 d9c37598-1abf-467a-96d8-4a67153cd619 \n", ""};
}

TEST(RunMachine, callsAGuestThatStaysOutOfReachUnavailable) {
  RunMachine machine{20ms};
  machine.launched();
  const RunMachine::Clock::time_point start{};
  const Error silent{Errc::timeout, "no answer within 30 s"};
  EXPECT_EQ(machine.failed(silent, start).action, Action::poll);
  EXPECT_EQ(machine.failed(silent, start + RunMachine::patience).action, Action::poll);
  ASSERT_EQ(machine.failed(silent, start + RunMachine::patience + 1s).action, Action::fail);
  // A timeout would be the command's own, which the caller may not even have set.
  EXPECT_EQ(machine.error().kind, Errc::unavailable);
  EXPECT_NE(std::string{machine.error().what()}.find("no answer within 30 s"), std::string::npos);
}

TEST(RunMachine, callsEveryEndOfItsPatienceUnavailable) {
  for (const auto kind :
       {Errc::busy, Errc::server, Errc::protocol, Errc::proxy, Errc::agent_down}) {
    RunMachine machine{20ms};
    machine.launched();
    const RunMachine::Clock::time_point start{};
    const Error failure{kind, "as ever"};
    machine.failed(failure, start);
    ASSERT_EQ(machine.failed(failure, start + RunMachine::patience + 1s).action, Action::fail);
    EXPECT_EQ(machine.error().kind, Errc::unavailable) << name_of(kind);
  }
}

TEST(RunMachine, callsAGuestWithoutRoomUnavailable) {
  RunMachine machine{20ms};
  machine.launched();
  ASSERT_EQ(machine.polled(LaunchEnd{0, "f 0\n", ""}).action, Action::fail);
  EXPECT_EQ(machine.error().kind, Errc::unavailable);
  EXPECT_NE(std::string{machine.error().what()}.find("/run is full"), std::string::npos);
}

/// A guest whose commands end after 100 ms, asked by a client that learns.
TEST(RunMachine, asksQuickCommandsOnceAfterTheyEnded) {
  QuickPause pause;
  int polls = 0;
  for (int command = 0; command < 200; ++command) {
    RunMachine machine{pause.value()};
    auto step = machine.launched();
    for (auto passed = step.pause;; passed += step.pause) {
      step = machine.polled(passed < 100ms ? std::nullopt : std::optional{ended()});
      if (command >= 20) ++polls;
      if (step.action == Action::done) break;
    }
    pause.learn(machine.polls());
  }
  EXPECT_LE(polls, 180 * 1.3);
  EXPECT_LE(pause.value(), 150ms);
}

TEST(RunMachine, learnsNothingFromLongCommands) {
  QuickPause pause;
  for (int command = 0; command < 100; ++command) pause.learn(7);
  EXPECT_EQ(pause.value(), QuickPause{}.value());
}

}  // namespace
}  // namespace px::guest
