#include "pve/client.hpp"
#include "pve/session.hpp"
#include "pve/tasks.hpp"

#include <gtest/gtest.h>

namespace px::pve {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

const SteadyTime start = SteadyTime{} + 1000h;

Ticket some_ticket() {
  return {Secret{"PVE:root@pam:1"}, Secret{"csrf"}};
}

TEST(LoginMachine, logsInFirstThenUsesThenRenewsThenLogsInAgain) {
  LoginMachine machine;
  EXPECT_EQ(machine.next(start), LoginMachine::Step::log_in);
  machine.got(some_ticket(), start);
  EXPECT_EQ(machine.next(start), LoginMachine::Step::use);
  EXPECT_EQ(machine.next(start + 89min), LoginMachine::Step::use);
  EXPECT_EQ(machine.next(start + 90min), LoginMachine::Step::renew);
  EXPECT_EQ(machine.next(start + 117min), LoginMachine::Step::renew);
  EXPECT_EQ(machine.next(start + 118min), LoginMachine::Step::log_in);
  machine.got(some_ticket(), start + 118min);
  EXPECT_EQ(machine.next(start + 119min), LoginMachine::Step::use);
}

TEST(LoginMachine, forgetsARefusedTicketButNotANewerOne) {
  LoginMachine machine;
  machine.got(some_ticket(), start);
  const auto old = machine.generation();
  machine.refused(old);
  EXPECT_EQ(machine.next(start), LoginMachine::Step::log_in);
  machine.got(some_ticket(), start);
  machine.refused(old);
  EXPECT_EQ(machine.next(start), LoginMachine::Step::use);
}

struct RepeatRow {
  std::string phrase;
  bool harmless;
  bool wait_for_lock;
  Errc kind;
  Sent sent;
  bool again;
};

TEST(Repeats, areMadeOnlyWhereTheyDoNoHarm) {
  const std::vector<RepeatRow> rows{
      {"a GET whose connection died", true, false, Errc::unreachable, Sent::maybe, true},
      {"a POST whose connection died", false, false, Errc::unreachable, Sent::maybe, false},
      {"a GET lost by the server's proxy", true, false, Errc::proxy, Sent::maybe, true},
      {"a POST lost by the server's proxy", false, false, Errc::proxy, Sent::maybe, false},
      {"no connection at all", true, false, Errc::unreachable, Sent::no, false},
      {"a wrong certificate", true, false, Errc::tls, Sent::no, false},
      {"our own deadline", true, false, Errc::timeout, Sent::maybe, false},
      {"an error answer", true, false, Errc::server, Sent::answered, false},
      {"an agent that did not answer in time", true, false, Errc::agent_down, Sent::maybe, false},
      {"a lock, waited for", false, true, Errc::busy, Sent::answered, true},
      {"a lock, not waited for", true, false, Errc::busy, Sent::answered, false},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.phrase);
    Repeats repeats{row.harmless, row.wait_for_lock};
    const auto error = Error{row.kind, "x"}.with_sent(row.sent);
    EXPECT_EQ(repeats.after(error).has_value(), row.again);
  }
}

TEST(Repeats, endAfterTwoWhenTheConnectionDiesAndNeverWhileALockIsWaitedFor) {
  const auto died = Error{Errc::unreachable, "x"}.with_sent(Sent::maybe);
  Repeats repeats{true, true};
  EXPECT_EQ(repeats.after(died), 200ms);
  EXPECT_EQ(repeats.after(died), 1000ms);
  EXPECT_EQ(repeats.after(died), std::nullopt);
  const auto locked = Error{Errc::busy, "x"}.with_sent(Sent::answered);
  milliseconds pause{};
  for (int i = 0; i < 50; ++i) pause = repeats.after(locked).value();
  EXPECT_EQ(pause, 2000ms);
}

TEST(TaskWait, asksSoonThenLessOftenUpToOnceASecond) {
  TaskWait wait;
  EXPECT_EQ(wait.first().pause, 50ms);
  auto longest = 0ms;
  auto total = wait.first().pause;
  for (int i = 0; i < 30; ++i) {
    const auto step = wait.answered({.running = true, .exit_status = {}});
    EXPECT_EQ(step.what, TaskWait::What::poll);
    EXPECT_GE(step.pause, longest);
    longest = step.pause;
    if (i < 4) total += step.pause;
  }
  EXPECT_EQ(longest, 1000ms);
  EXPECT_LT(total, 700ms);
}

TEST(TaskWait, asksFirstShortlyBeforeTheExpectedEnd) {
  TaskWait wait{5s};
  EXPECT_EQ(wait.first().pause, 4500ms);
  EXPECT_EQ(wait.answered({.running = true, .exit_status = {}}).pause, 200ms);
}

TEST(TaskWait, knowsSuccessAndFailure) {
  struct Row {
    std::string exit_status;
    TaskWait::What what;
  };
  for (const auto& row : std::vector<Row>{
           {"OK", TaskWait::What::succeeded},
           {"WARNINGS: 2", TaskWait::What::succeeded},
           {"unexpected status", TaskWait::What::failed},
           {"job errors", TaskWait::What::failed},
           {"interrupted by signal", TaskWait::What::failed},
       }) {
    TaskWait wait;
    EXPECT_EQ(wait.answered({.running = false, .exit_status = row.exit_status}).what, row.what)
        << row.exit_status;
  }
}

TEST(TaskWait, givesUpAfterSixLostPollsInARow) {
  TaskWait wait;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(wait.poll_lost().what, TaskWait::What::poll);
  EXPECT_EQ(wait.answered({.running = true, .exit_status = {}}).what, TaskWait::What::poll);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(wait.poll_lost().what, TaskWait::What::poll);
  EXPECT_EQ(wait.poll_lost().what, TaskWait::What::lost);
}

}  // namespace
}  // namespace px::pve
