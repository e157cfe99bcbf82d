#include "pve/tasks.hpp"

#include "bench.hpp"
#include "pve/qemu.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>

namespace px::pve {
namespace {

using namespace std::chrono_literals;
using testing::Bench;
using testing::data_reply;
using testing::error_of;
using testing::error_reply;
using testing::no_reply;
using testing::Received;
using testing::Reply;
using testing::with_server;

const VmRef vm{NodeName::parse("pve1"), Vmid::parse("142")};

std::string upid_text(const std::string& type, int number, const std::string& id = "142",
                      const std::string& user = "root@pam!test") {
  return fmt::format("UPID:pve1:{:08X}:00345678:{:08X}:{}:{}:{}:", number, std::time(nullptr), type,
                     id, user);
}

/// A server with tasks: POSTs and DELETEs start them, each has a script of statuses.
struct TaskServer {
  std::vector<std::string> started;
  std::vector<std::string> ends{"OK"};  ///< exit status of the n-th task, the last for the rest
  int polls_until_end = 1;
  bool tells_time = true;  ///< as a server does, but perhaps no proxy before it
  std::function<std::optional<Reply>(const Received&, TaskServer&)> before;  ///< fault injection
  std::map<std::string, int> polls;
  std::set<std::string> vms;  ///< copies made by clones

  std::string start(const std::string& type) {
    started.push_back(upid_text(type, static_cast<int>(started.size()) + 1));
    return started.back();
  }

  Reply operator()(const Received& request) {
    if (before) {
      if (auto reply = before(request, *this)) return *reply;
    }
    auto reply = act(request);
    if (!tells_time) reply.bytes = std::regex_replace(reply.bytes, std::regex{"Date: .*\r\n"}, "");
    return reply;
  }

  Reply act(const Received& request) {
    const auto path = request.path();
    if (path.ends_with("/status/start") && request.method == "POST") {
      return data_reply('"' + start("qmstart") + '"');
    }
    if (path.ends_with("/clone")) {
      const auto at = request.body.find("newid=") + 6;
      const auto id = request.body.substr(at, request.body.find('&', at) - at);
      if (!vms.insert(id).second) {
        return error_reply(500, "unable to create VM " + id + ": config file already exists");
      }
      return data_reply('"' + start("qmclone") + '"');
    }
    if (path.ends_with("/config")) {
      const auto id = path.substr(path.find("qemu/") + 5, 3);
      if (!vms.contains(id)) {
        return error_reply(
            500, "Configuration file 'nodes/pve1/qemu-server/" + id + ".conf' does not exist");
      }
      return data_reply(R"({"name":"copy","description":"ours\n"})");
    }
    if (path == "/version") return data_reply(R"({"version":"9.1.4"})");
    if (path == "/nodes/pve1/tasks") {
      std::string list;
      for (const auto& upid : started) {
        list += (list.empty() ? "" : ",") + ("{\"upid\":\"" + upid + "\"}");
      }
      return data_reply("[" + list + "]");
    }
    if (path.ends_with("/log")) {
      return data_reply(R"([{"n":1,"t":"begin"},{"n":2,"t":"TASK ERROR: broken"}])");
    }
    if (path.ends_with("/status")) {
      const auto upid = percent_decode(path.substr(18, path.size() - 18 - 7));
      const auto number = static_cast<std::size_t>(std::find(started.begin(), started.end(), upid) -
                                                   started.begin());
      if (number == started.size()) {
        const std::string body = R"({"data":null,"errors":{"upid":"no such task"}})";
        return {"HTTP/1.1 400 Parameter verification failed.\r\nContent-Length: " +
                    std::to_string(body.size()) + "\r\n\r\n" + body,
                true};
      }
      if (++polls[upid] <= polls_until_end) return data_reply(R"({"status":"running"})");
      const auto& end = ends[std::min(number, ends.size() - 1)];
      return data_reply(fmt::format(R"({{"status":"stopped","exitstatus":"{}"}})", end));
    }
    return data_reply("null");
  }
};

TaskCall start_call(Deadline deadline = Deadline::after(20s)) {
  return {.method = "POST",
          .path = "/nodes/pve1/qemu/142/status/start",
          .params = {},
          .node = vm.node,
          .type = "qmstart",
          .vmid = vm.vmid,
          .deadline = deadline,
          .doing = "start VM 142"};
}

awaitable<void> start_and_wait(Client& client, Deadline deadline = Deadline::after(20s)) {
  co_await run_task(
      client, [&] { return post_task_once(client, start_call(deadline)); }, deadline,
      "start VM 142");
}

TEST(WaitForTask, returnsWhenTheTaskItselfSaysSo) {
  for (const auto* end : {"OK", "WARNINGS: 1"}) {
    TaskServer server;
    server.ends = {end};
    server.polls_until_end = 3;
    with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
      Client client{bench.executor, bench.pool, bench.instance()};
      co_await start_and_wait(client);
      EXPECT_EQ(server.polls.begin()->second, 4);
      EXPECT_EQ(bench.server.received().size(), 5u);
    });
  }
}

TEST(WaitForTask, throwsWhatTheEndMeansWithTheLogReadOnce) {
  struct Row {
    std::string end;
    Errc kind;
  };
  for (const auto& row : std::vector<Row>{
           {"start failed: QEMU exited with code 1", Errc::task_failed},
           {"unable to create VM 142: config file already exists", Errc::already_exists},
           {"can't lock file '/var/lock/qemu-server/lock-142.conf' - got timeout", Errc::busy},
           {"bridge 'x' does not exist", Errc::not_found},
           {"VM quit/powerdown failed - got timeout", Errc::task_failed},
           {"interrupted by signal", Errc::task_failed},
       }) {
    SCOPED_TRACE(row.end);
    TaskServer server;
    server.ends = {row.end};
    with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
      Client client{bench.executor, bench.pool, bench.instance()};
      const auto upid = Upid::parse(server.start("qmstart"));
      const auto error =
          co_await error_of(wait_for_task(client, upid, Deadline::after(5s), "start VM 142"));
      EXPECT_EQ(name_of(error.kind), name_of(row.kind));
      EXPECT_EQ(error.said, row.end);
      EXPECT_EQ(error.doing, "start VM 142");
      EXPECT_EQ(error.sent, Sent::answered);
      EXPECT_EQ(error.task_log, (std::vector<std::string>{"begin", "TASK ERROR: broken"}));
      int logs = 0;
      for (const auto& request : bench.server.received()) {
        logs += request.path().ends_with("/log") ? 1 : 0;
      }
      EXPECT_EQ(logs, 1);
    });
  }
}

TEST(WaitForTask, saysAtItsDeadlineThatTheTaskGoesOn) {
  TaskServer server;
  server.polls_until_end = 1'000'000;
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    const auto upid = Upid::parse(server.start("qmstart"));
    const auto error =
        co_await error_of(wait_for_task(client, upid, Deadline::after(300ms), "start VM 142"));
    EXPECT_EQ(error.kind, Errc::timeout);
    EXPECT_NE(error.said.find("still running"), std::string::npos);
    EXPECT_NE(error.said.find(upid.text()), std::string::npos);
  });
}

TEST(WaitForTask, reportsATaskThatNobodyKnows) {
  TaskServer server;
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    const auto error = co_await error_of(wait_for_task(
        client, Upid::parse(upid_text("qmstart", 99)), Deadline::after(5s), "start VM 142"));
    EXPECT_EQ(error.kind, Errc::not_found);
  });
}

TEST(WaitForTask, survivesLostPolls) {
  TaskServer server;
  int count = 0;
  server.before = [&](const Received& r, TaskServer&) -> std::optional<Reply> {
    if (!r.path().ends_with("/status")) return std::nullopt;
    // Four answers in a row: more than one GET's own repeats.
    return ++count <= 4 ? std::optional{no_reply()} : std::nullopt;
  };
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    const auto upid = Upid::parse(server.start("qmstart"));
    co_await wait_for_task(client, upid, Deadline::after(20s), "start VM 142");
    EXPECT_GT(count, 4);
  });
}

TEST(PostTaskOnce, findsTheTaskWhenItsAnswerWasLost) {
  for (const auto& [proxy, tells_time] : {std::pair{false, true}, {true, true}, {false, false}}) {
    TaskServer server;
    server.tells_time = tells_time;
    server.before = [by_proxy = proxy](const Received& r, TaskServer& s) -> std::optional<Reply> {
      if (r.method != "POST") return std::nullopt;
      s.act(r);
      return by_proxy ? error_reply(596, "Connection timed out") : no_reply();
    };
    with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
      Client client{bench.executor, bench.pool, bench.instance()};
      const auto upid = co_await post_task_once(client, start_call());
      EXPECT_EQ(upid.text(), server.started.at(0));
      EXPECT_EQ(server.started.size(), 1u);
      EXPECT_EQ(bench.server.count("POST", "/nodes/pve1/qemu/142/status/start"), 1);
    });
  }
}

TEST(PostTaskOnce, sendsAgainWhenTheFirstSurelyDidNotStart) {
  TaskServer server;
  int posts = 0;
  server.before = [&](const Received& r, TaskServer&) -> std::optional<Reply> {
    return r.method == "POST" && ++posts == 1 ? std::optional{no_reply()} : std::nullopt;
  };
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    co_await post_task_once(client, start_call());
    EXPECT_EQ(server.started.size(), 1u);
    EXPECT_EQ(posts, 2);
  });
}

TEST(PostTaskOnce, doesNotTakeAnEarlierTaskOfTheSameVmForALostOne) {
  TaskServer server;
  int posts = 0;
  server.before = [&](const Received& r, TaskServer&) -> std::optional<Reply> {
    return r.method == "POST" && ++posts == 2 ? std::optional{no_reply()} : std::nullopt;
  };
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    const auto first = co_await post_task_once(client, start_call());
    const auto second = co_await post_task_once(client, start_call());
    EXPECT_NE(first, second);
    EXPECT_EQ(server.started.size(), 2u);
    EXPECT_EQ(posts, 3);
  });
}

TEST(PostTaskOnce, doesNotTakeATaskOfTheVmidsFormerOwnerForALostOne) {
  TaskServer server;
  server.started.push_back(fmt::format(
      "UPID:pve1:0000AB12:00345677:{:08X}:qmstart:142:root@pam!test:", std::time(nullptr)));
  int posts = 0;
  server.before = [&](const Received& r, TaskServer&) -> std::optional<Reply> {
    return r.method == "POST" && ++posts == 1 ? std::optional{no_reply()} : std::nullopt;
  };
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    client.remember(Upid::parse(upid_text("qmclone", 1)));  // ours, by which the VM came to be
    co_await post_task_once(client, start_call());
    EXPECT_EQ(server.started.size(), 2u);
    EXPECT_EQ(posts, 2);
  });
}

TEST(PostTaskOnce, passesAnErrorAnswerOn) {
  TaskServer server;
  server.before = [](const Received& r, TaskServer&) -> std::optional<Reply> {
    if (r.method != "POST") return std::nullopt;
    return error_reply(403, "Permission check failed (/vms/142, VM.PowerMgmt)");
  };
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    const auto error = co_await error_of(post_task_once(client, start_call()));
    EXPECT_EQ(error.kind, Errc::forbidden);
    EXPECT_EQ(error.doing, "start VM 142");
    EXPECT_EQ(bench.server.received().size(), 1u);
  });
}

TEST(RunTask, startsAnewWhenTheTaskCouldNotGetItsLock) {
  TaskServer server;
  server.ends = {"can't lock file '/var/lock/qemu-server/lock-142.conf' - got timeout", "OK"};
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    co_await start_and_wait(client);
    EXPECT_EQ(server.started.size(), 2u);
  });
}

TEST(RunTask, endsWithTheLocksErrorAtItsDeadline) {
  TaskServer server;
  server.ends = {"can't lock file '/var/lock/qemu-server/lock-142.conf' - got timeout"};
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    const auto error = co_await error_of(start_and_wait(client, Deadline::after(1500ms)));
    EXPECT_EQ(error.kind, Errc::busy);
  });
}

// Clones carry the id of their source, so a lost answer is found by the copy.

qemu::Clone a_copy() {
  return {.new_id = Vmid::parse("150"), .name = "copy", .description = "ours"};
}

TEST(Clone, waitsForItsTask) {
  TaskServer server;
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    co_await qemu::clone(client, vm, a_copy(), Deadline::after(10s));
    EXPECT_EQ(bench.server.received().front().body, "newid=150&name=copy&description=ours");
    EXPECT_EQ(server.started.size(), 1u);
  });
}

TEST(Clone, followsTheCopyWhenItsAnswerWasLost) {
  TaskServer server;
  int reads = 0;
  server.before = [&](const Received& r, TaskServer& s) -> std::optional<Reply> {
    if (r.path().ends_with("/clone")) {
      s.act(r);
      return no_reply();
    }
    if (r.path().ends_with("/config") && ++reads <= 2) {
      return data_reply(R"({"lock":"clone","description":"ours\n"})");
    }
    return std::nullopt;
  };
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    co_await qemu::clone(client, vm, a_copy(), Deadline::after(10s));
    EXPECT_EQ(server.started.size(), 1u);
    EXPECT_EQ(reads, 3);
  });
}

TEST(Clone, isSentAgainWhenThereIsNoCopy) {
  TaskServer server;
  int posts = 0;
  server.before = [&](const Received& r, TaskServer&) -> std::optional<Reply> {
    return r.method == "POST" && ++posts == 1 ? std::optional{no_reply()} : std::nullopt;
  };
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    co_await qemu::clone(client, vm, a_copy(), Deadline::after(20s));
    EXPECT_EQ(server.started.size(), 1u);
  });
}

TEST(Clone, leavesAnothersVmAlone) {
  TaskServer server;
  server.before = [](const Received& r, TaskServer&) -> std::optional<Reply> {
    if (r.path().ends_with("/clone")) return no_reply();
    if (r.path().ends_with("/config")) return data_reply(R"({"name":"theirs"})");
    return std::nullopt;
  };
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    const auto error = co_await error_of(qemu::clone(client, vm, a_copy(), Deadline::after(10s)));
    EXPECT_EQ(error.kind, Errc::already_exists);
  });
}

TEST(Clone, reportsATakenIdFromBothPlaces) {
  for (const bool in_task : {false, true}) {
    TaskServer server;
    if (in_task) {
      server.ends = {"unable to create VM 150: config file already exists"};
    } else {
      server.vms.insert("150");
    }
    with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
      Client client{bench.executor, bench.pool, bench.instance()};
      const auto error = co_await error_of(qemu::clone(client, vm, a_copy(), Deadline::after(10s)));
      EXPECT_EQ(error.kind, Errc::already_exists);
    });
  }
}

// Every request of "clone, then start" is spoiled once, in several ways; each VM and each start
// happens once all the same. All cases run side by side, for most of their time is waiting.

enum class Fault { lost_before, lost_after, error_596_before, error_596_after, locked, refused };

std::optional<Reply> spoil(Fault fault, const Received& request, TaskServer& server) {
  switch (fault) {
    case Fault::lost_before:
      return no_reply();
    case Fault::lost_after:
      server.act(request);
      return no_reply();
    case Fault::error_596_before:
      return error_reply(596, "Connection timed out");
    case Fault::error_596_after:
      server.act(request);
      return error_reply(596, "Broken pipe");
    case Fault::locked:
      return error_reply(500, "can't lock file '/var/lock/x' - got timeout");
    case Fault::refused:
      return error_reply(403, "Permission check failed (/vms/142, VM.Clone)");
  }
  return std::nullopt;
}

/// Spoils the n-th request. `hits` counts the cases that had so many.
awaitable<void> clone_and_start(Fault fault, int n, int& hits) {
  const auto name = fmt::format("fault {} at request {}", static_cast<int>(fault), n);
  TaskServer server;
  int count = 0;
  server.before = [&](const Received& r, TaskServer& s) -> std::optional<Reply> {
    if (++count != n) return std::nullopt;
    ++hits;
    return spoil(fault, r, s);
  };
  Bench bench{co_await asio::this_coro::executor, std::ref(server), testing::usual_certificate()};
  Client client{bench.executor, bench.pool, bench.instance()};
  try {
    co_await qemu::clone(client, vm, a_copy(), Deadline::after(30s));
    co_await start_and_wait(client);
    EXPECT_EQ(server.started.size(), 2u) << name;
  } catch (const Error& e) {
    EXPECT_EQ(fault, Fault::refused) << name << ": " << e.what();
    EXPECT_EQ(e.kind, Errc::forbidden) << name << ": " << e.what();
  }
  EXPECT_LE(server.started.size(), 2u) << name;
  EXPECT_LE(server.vms.size(), 1u) << name;
  co_await bench.server.end();
}

TEST(Sweep, aFaultAtAnyRequestNeverActsTwice) {
  constexpr int most_requests = 12;
  int hits = 0;
  testing::run([](int& hit_count) -> awaitable<void> {
    std::vector<awaitable<void>> cases;
    for (const auto fault : {Fault::lost_before, Fault::lost_after, Fault::error_596_before,
                             Fault::error_596_after, Fault::locked, Fault::refused}) {
      for (int n = 1; n <= most_requests; ++n) {
        cases.push_back(clone_and_start(fault, n, hit_count));
      }
    }
    co_await all(std::move(cases), false);
  }(hits));
  // A clone and a start make six requests when nothing happens.
  EXPECT_GE(hits, 6 * 6);
}

}  // namespace
}  // namespace px::pve
