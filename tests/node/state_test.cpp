// What a node keeps: its files, tasks, tokens and tickets, across restarts.
#include "node/state.hpp"

#include "node/access.hpp"
#include "node/tasks.hpp"
#include "node_under_test.hpp"
#include "run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace {

using namespace px;
using namespace px::node;
using namespace std::chrono_literals;
using px::testing::NodeUnderTest;
using px::testing::TemporaryDirectory;

TEST(State, givesBackWhatWasWritten) {
  const TemporaryDirectory directory;
  const State state{directory.path() / "node"};
  EXPECT_EQ(state.read("a/b.conf"), std::nullopt);
  state.write("a/b.conf", "one");
  state.write("a/b.conf", "two");
  EXPECT_EQ(state.read("a/b.conf"), "two");
  state.remove("a/b.conf");
  EXPECT_EQ(state.read("a/b.conf"), std::nullopt);
}

TEST(State, belongsToOneNodeAtATime) {
  const TemporaryDirectory directory;
  {
    const State first{directory.path() / "node"};
    try {
      const State second{directory.path() / "node"};
      ADD_FAILURE() << "two nodes on one directory";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind, Errc::busy);
    }
  }
  const State third{directory.path() / "node"};
}

TEST(State, isForItsOwnerOnly) {
  const TemporaryDirectory directory;
  const State state{directory.path() / "node"};
  state.write("secret", "x");
  const auto others = std::filesystem::perms::group_all | std::filesystem::perms::others_all;
  EXPECT_EQ(std::filesystem::status(state.path("secret")).permissions() & others,
            std::filesystem::perms::none);
  EXPECT_EQ(std::filesystem::status(state.directory()).permissions() & others,
            std::filesystem::perms::none);
}

/// A node in a directory that outlives it.
NodeOptions options_in(const TemporaryDirectory& directory) {
  auto options = NodeUnderTest::options_for("proxmox");
  options.directory = directory.path() / "node";
  return options;
}

TEST(Restart, keepsTasksWithTheirLogs) {
  const TemporaryDirectory directory;
  std::string upid;
  {
    const NodeUnderTest node{options_in(directory)};
    upid = node.call("POST", "/nodes/proxmox/qemu", "vmid=100&memory=64").text();
    EXPECT_EQ(node.end_of_task(upid), "OK");
  }
  const NodeUnderTest node{options_in(directory)};
  EXPECT_EQ(node.end_of_task(upid), "OK");
  const auto log =
      node.call("GET", "/nodes/proxmox/tasks/" + percent_encode(upid) + "/log").data().as_array();
  EXPECT_EQ(json::text_at(log.back(), "t"), "TASK OK");
  EXPECT_EQ(node.call("GET", "/nodes/proxmox/qemu/100/config").status, 200);
}

TEST(Restart, endsTasksThatRanWhenTheNodeDied) {
  const TemporaryDirectory directory;
  const std::string upid = "UPID:proxmox:00000007:00000007:6B056AA4:qmstart:100:root@pam:";
  {
    const State state{directory.path() / "node"};
    // What a node writes at a task's start, and half a line of one that died while writing.
    state.write(
        "tasks.jsonl",
        R"({"upid":")" + upid +
            R"(","type":"qmstart","id":"100","user":"root@pam","pid":7,"started":1795500708,)"
            R"("ended":0,"status":"","log":["starting"]})"
            "\n"
            R"({"upid":"UPID:pro)");
  }
  const NodeUnderTest node{options_in(directory)};
  EXPECT_EQ(node.end_of_task(upid), "unexpected status");
  const auto next = node.call("POST", "/nodes/proxmox/qemu", "vmid=100&memory=64").text();
  EXPECT_THAT(next, ::testing::StartsWith("UPID:proxmox:00000008:")) << "numbers are not reused";
}

TEST(Restart, keepsCertificatePasswordTicketsAndTokens) {
  const TemporaryDirectory directory;
  std::string fingerprint;
  std::string password;
  std::string ticket;
  std::string token;
  {
    NodeUnderTest node{options_in(directory)};
    fingerprint = node.node().fingerprint();
    password = node.password();
    ticket = json::text_at(
        node.send("POST", "/api2/json/access/ticket", {}, "username=root@pam&password=" + password)
            .data(),
        "ticket");
    token = json::text_at(
        node.call("POST", "/access/users/root@pam/token/mine", "privsep=0").data(), "value");
  }
  NodeUnderTest node{options_in(directory)};
  EXPECT_EQ(node.node().fingerprint(), fingerprint);
  EXPECT_EQ(node.password(), password);
  EXPECT_EQ(node.send("GET", "/api2/json/version", {{"Cookie", "PVEAuthCookie=" + ticket}}).status,
            200);
  EXPECT_EQ(node.send("GET", "/api2/json/version",
                      {{"Authorization", "PVEAPIToken=root@pam!mine=" + token}})
                .status,
            200);
}

TEST(Ticket, countsOnlyUnchangedAndFresh) {
  const TemporaryDirectory directory;
  State state{directory.path() / "node"};
  Router router;
  Access access{state};
  access.add_routes(router);
  std::map<std::string, std::string> none;
  const auto* route = router.find("POST", "/access/ticket", none);
  Call call;
  call.values = {{"username", {"root@pam"}}, {"password", {access.password().reveal()}}};
  const auto answer = px::testing::run(route->handler(call));
  const auto ticket = json::text_at(answer, "ticket");
  EXPECT_TRUE(access.identify("PVEAuthCookie=" + ticket, "").by_ticket);
  EXPECT_TRUE(
      access.identify("a=b; PVEAuthCookie=" + percent_encode(ticket) + "; c=d", "").by_ticket);
  EXPECT_TRUE(access.identify("", "PVEAuthCookie=" + ticket).by_ticket);
  EXPECT_THAT(ticket, ::testing::MatchesRegex("PVE:root@pam:[0-9A-F]{8}::[A-Za-z0-9+/=]+"));

  const std::vector<std::pair<std::string, std::string>> bad{
      {"no ticket", ""},
      {"another user", "PVE:other@pam" + ticket.substr(12)},
      {"another time", ticket.substr(0, 13) + "00000000" + ticket.substr(21)},
      {"no signature", ticket.substr(0, ticket.find("::") + 2)},
      {"half", ticket.substr(0, 10)},
  };
  for (const auto& [name, text] : bad) {
    EXPECT_THROW(access.identify("PVEAuthCookie=" + text, ""), ApiError) << name;
  }
  const auto csrf = json::text_at(answer, "CSRFPreventionToken");
  const Identity caller{"root@pam", true};
  EXPECT_NO_THROW(access.check_csrf(caller, csrf));
  EXPECT_THROW(access.check_csrf(caller, ""), ApiError);
  EXPECT_THROW(access.check_csrf(caller, csrf + "x"), ApiError);
  EXPECT_THROW(access.check_csrf({"other@pam", true}, csrf), ApiError);
  EXPECT_NO_THROW(access.check_csrf({"root@pam!token", false}, ""));
}

awaitable<void> wait_for_ever(TaskLog& log) {
  log.line("waiting");
  co_await sleep_for(1h);
}
awaitable<void> fail(TaskLog& log) {
  log.line("trying");
  throw ApiError{500, "it broke\nmore"};
  co_return;
}
awaitable<void> warn(TaskLog& log) {
  log.warn("careful");
  co_return;
}

TEST(Tasks, endAsTheirWorkDoes) {
  const TemporaryDirectory directory;
  State state{directory.path() / "node"};
  asio::io_context io{1};
  Tasks tasks{io.get_executor(), state, "proxmox"};
  std::map<std::string, std::string> ends;
  tasks.on_end = [&](const std::string& upid, const std::string& status) { ends[upid] = status; };
  const auto stopped = tasks.start("qmstart", "100", "root@pam", wait_for_ever);
  const auto failed = tasks.start("qmstart", "101", "root@pam!t", fail);
  const auto warned = tasks.start("qmstart", "102", "root@pam", warn);
  asio::co_spawn(io, tasks.stop_all(), [](std::exception_ptr) {});
  io.run();
  EXPECT_EQ(ends[stopped], "interrupted by signal");
  EXPECT_EQ(ends[failed], "it broke");
  EXPECT_EQ(ends[warned], "WARNINGS: 1");
}

TEST(Tasks, waitInOrderWhereTheirHostWorksAtFewAtOnce) {
  const TemporaryDirectory directory;
  State state{directory.path() / "node"};
  asio::io_context io{1};
  Tasks tasks{io.get_executor(), state, "proxmox", {.at_once = 2}};
  int running = 0;
  int most = 0;
  std::vector<int> order;
  for (int i = 0; i < 6; ++i) {
    tasks.start("qmstart", "100", "root@pam", [&, i](TaskLog&) -> awaitable<void> {
      most = std::max(most, ++running);
      order.push_back(i);
      co_await sleep_for(std::chrono::milliseconds{1});
      --running;
    });
  }
  io.run();
  EXPECT_EQ(most, 2);
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4, 5}));
}

}  // namespace
