#include "pve/client.hpp"

#include "bench.hpp"
#include "pve/agent.hpp"
#include "pve/cluster.hpp"
#include "pve/nodes.hpp"
#include "pve/pools.hpp"
#include "pve/qemu.hpp"
#include "pve/snapshot.hpp"
#include "pve/storage.hpp"
#include "pve/version.hpp"

#include <gtest/gtest.h>

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

Reply always_fine(const Received&) {
  return data_reply("1");
}

std::string ticket_data(const std::string& ticket) {
  return R"({"username":"root@pam","ticket":")" + ticket + R"(","CSRFPreventionToken":"c:)" +
         ticket + "\"}";
}

bool is_login(const Received& request) {
  return request.path() == "/access/ticket";
}

/// Answers logins with ticket1, ticket2...; `refused` tickets get 401.
struct LoginServer {
  int logins = 0;
  std::vector<std::string> refused;
  std::vector<std::string> passwords;

  Reply operator()(const Received& request) {
    if (is_login(request)) {
      passwords.push_back(request.body);
      return data_reply(ticket_data("ticket" + std::to_string(++logins)));
    }
    for (const auto& ticket : refused) {
      if (request.header("cookie") == "PVEAuthCookie=" + ticket) {
        return {"HTTP/1.1 401 No ticket\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", true};
      }
    }
    return data_reply("1");
  }
};

// Login

TEST(Client, authenticatesByTokenWithoutALogin) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    co_await client.post("/x", Params{}.add("a", "b"));
    const auto& request = bench.server.received().front();
    EXPECT_EQ(request.header("authorization"),
              "PVEAPIToken=root@pam!test=11111111-2222-3333-4444-555555555555");
    EXPECT_FALSE(request.headers.contains("cookie"));
    EXPECT_FALSE(request.headers.contains("csrfpreventiontoken"));
    EXPECT_EQ(request.header("content-type"), "application/x-www-form-urlencoded");
    EXPECT_EQ(request.body, "a=b");
  });
}

TEST(Client, logsInOnceForManyRequestsThatStartTogether) {
  LoginServer server;
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance_with_password()};
    std::vector<awaitable<void>> calls;
    const auto get = [](Client& c) -> awaitable<void> { co_await c.get("/version"); };
    for (int i = 0; i < 20; ++i) calls.push_back(get(client));
    co_await all(std::move(calls));
    EXPECT_EQ(server.logins, 1);
    EXPECT_EQ(client.stats().requests.at("GET"), 20u);
    EXPECT_EQ(client.stats().total(), 21u);
    EXPECT_EQ(server.passwords.front(), "username=root%40pam&password=swordfish");
  });
}

TEST(Client, sendsTheTicketEncodedAndTheTokenAgainstForgedRequestsOnlyWithWrites) {
  with_server(
      [](const Received& r) {
        return is_login(r) ? data_reply(ticket_data("PVE:root@pam:1::a+/=")) : data_reply("1");
      },
      [](Bench& bench) -> awaitable<void> {
        Client client{bench.executor, bench.pool, bench.instance_with_password()};
        co_await client.get("/version");
        co_await client.put("/x");
        const auto& received = bench.server.received();
        EXPECT_EQ(received[1].header("cookie"),
                  "PVEAuthCookie=PVE%3Aroot%40pam%3A1%3A%3Aa%2B%2F%3D");
        EXPECT_FALSE(received[1].headers.contains("csrfpreventiontoken"));
        EXPECT_EQ(received[2].header("csrfpreventiontoken"), "c:PVE:root@pam:1::a+/=");
      });
}

TEST(Client, logsInAgainOnceWhenTheTicketIsRefusedAndSendsTheSameAgain) {
  LoginServer server;
  server.refused = {"ticket1"};
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance_with_password()};
    co_await client.post("/x", Params{}.add("a", "b"));
    EXPECT_EQ(server.logins, 2);
    EXPECT_EQ(bench.server.count("POST", "/x"), 2);
    EXPECT_EQ(bench.server.received().back().body, "a=b");
    // A refused ticket is no password.
    EXPECT_EQ(server.passwords[1], "username=root%40pam&password=swordfish");
  });
}

TEST(Client, givesUpWithAHintWhenANewTicketIsRefusedToo) {
  LoginServer server;
  server.refused = {"ticket1", "ticket2"};
  with_server(std::ref(server), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance_with_password()};
    const auto error = co_await error_of(client.get("/x"));
    EXPECT_EQ(error.kind, Errc::auth);
    EXPECT_EQ(error.status, 401);
    EXPECT_EQ(server.logins, 2);
  });
}

TEST(Client, tellsAllWhoWaitedForALoginThatItWasRefused) {
  with_server([](const Received&) { return error_reply(401, "authentication failure"); },
              [](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance_with_password()};
                int refused = 0;
                const auto get = [](Client& c, int& count) -> awaitable<void> {
                  const auto error = co_await error_of(c.get("/version"));
                  EXPECT_EQ(error.kind, Errc::auth);
                  EXPECT_NE(error.hint.find("PROXMOX_PASSWORD"), std::string::npos);
                  EXPECT_NE(error.said.find("root@pam"), std::string::npos);
                  EXPECT_EQ(std::string{error.what()}.find("swordfish"), std::string::npos);
                  ++count;
                };
                std::vector<awaitable<void>> calls;
                for (int i = 0; i < 10; ++i) calls.push_back(get(client, refused));
                co_await all(std::move(calls));
                EXPECT_EQ(refused, 10);
                EXPECT_EQ(bench.server.received().size(), 1u);
              });
}

TEST(Client, namesTheTokensVariablesWhenTheTokenIsRefused) {
  with_server([](const Received&) { return error_reply(401, "Authentication failed!"); },
              [](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance()};
                const auto error = co_await error_of(client.get("/version"));
                EXPECT_EQ(error.kind, Errc::auth);
                EXPECT_NE(error.hint.find("PROXMOX_TOKEN_SECRET"), std::string::npos);
                EXPECT_EQ(std::string{error.what()}.find("11111111"), std::string::npos);
                EXPECT_EQ(bench.server.received().size(), 1u);
              });
}

TEST(Client, letsAnotherLogInWhenTheOneWhoBeganIsCancelled) {
  int logins = 0;
  with_server(
      [&](const Received& r) {
        if (!is_login(r)) return data_reply("1");
        auto reply = data_reply(ticket_data("t"));
        if (++logins == 1) reply.delay = 60s;
        return reply;
      },
      [&](Bench& bench) -> awaitable<void> {
        Client client{bench.executor, bench.pool, bench.instance_with_password()};
        const auto first = [](Client& c) -> awaitable<void> {
          const auto error =
              co_await error_of(c.get("/a", {}, {.deadline = Deadline::after(100ms)}));
          EXPECT_EQ(error.kind, Errc::timeout);
          EXPECT_EQ(error.sent, Sent::no);
        };
        const auto second = [](Client& c) -> awaitable<void> {
          co_await sleep_for(20ms);
          co_await c.get("/b", {}, {.deadline = Deadline::after(5s)});
        };
        std::vector<awaitable<void>> calls;
        calls.push_back(first(client));
        calls.push_back(second(client));
        co_await all(std::move(calls));
        EXPECT_EQ(logins, 2);
      });
}

TEST(Client, asksForATokenWhenTheUserHasASecondFactor) {
  with_server([](const Received&) { return data_reply(R"({"ticket":"x","NeedTFA":1})"); },
              [](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance_with_password()};
                const auto error = co_await error_of(client.get("/version"));
                EXPECT_EQ(error.kind, Errc::auth);
                EXPECT_NE(error.hint.find("PROXMOX_TOKEN_ID"), std::string::npos);
              });
}

// Repeats, limits, errors

TEST(Client, repeatsAGetWhoseConnectionDiedButNoPost) {
  int count = 0;
  with_server([&](const Received&) { return ++count % 2 == 1 ? no_reply() : data_reply("7"); },
              [&](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance()};
                EXPECT_EQ((co_await client.get("/a")).as_int64(), 7);
                EXPECT_EQ(bench.server.count("GET", "/a"), 2);
                EXPECT_EQ(client.stats().repeated, 1u);
                const auto error = co_await error_of(client.post("/b"));
                EXPECT_EQ(error.sent, Sent::maybe);
                EXPECT_EQ(error.method, "POST");
                EXPECT_EQ(error.path, "/b");
                EXPECT_EQ(bench.server.count("POST", "/b"), 1);
                ++count;
                co_await client.put("/c", {}, {.repeatable = true});
                EXPECT_EQ(bench.server.count("PUT", "/c"), 2);
              });
}

TEST(Client, givesUpAGetAfterThreeAttempts) {
  with_server([](const Received&) { return error_reply(596, "Connection timed out"); },
              [](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance()};
                const auto error = co_await error_of(client.get("/a"));
                EXPECT_EQ(error.kind, Errc::proxy);
                EXPECT_EQ(error.sent, Sent::maybe);
                EXPECT_EQ(bench.server.count("GET", "/a"), 3);
              });
}

TEST(Client, waitsForALockOnlyWhereAsked) {
  int count = 0;
  with_server(
      [&](const Received&) {
        return ++count < 3 ? error_reply(500, "VM is locked (snapshot)") : data_reply("1");
      },
      [&](Bench& bench) -> awaitable<void> {
        Client client{bench.executor, bench.pool, bench.instance()};
        EXPECT_EQ((co_await error_of(client.post("/a"))).kind, Errc::busy);
        co_await client.post("/b", {}, {.wait_for_lock = true});
        EXPECT_EQ(bench.server.count("POST", "/b"), 2);
      });
}

TEST(Client, keepsAtMostThreeWorkersAndTwoBulkReadsButAnyNumberOfLightCalls) {
  struct Row {
    Load load;
    int least;
    int most;
  };
  for (const auto& row :
       {Row{Load::worker, 3, 3}, Row{Load::bulk_read, 2, 2}, Row{Load::light, 4, 8}}) {
    with_server(
        [](const Received&) {
          auto reply = data_reply("1");
          reply.delay = 100ms;
          return reply;
        },
        [&](Bench& bench) -> awaitable<void> {
          Client client{bench.executor, bench.pool, bench.instance()};
          const auto get = [](Client& c, Load load) -> awaitable<void> {
            co_await c.get("/a", {}, {.load = load});
          };
          std::vector<awaitable<void>> calls;
          for (int i = 0; i < 8; ++i) calls.push_back(get(client, row.load));
          co_await all(std::move(calls));
          EXPECT_GE(bench.server.most_at_once(), row.least);
          EXPECT_LE(bench.server.most_at_once(), row.most);
        });
  }
}

TEST(Client, saysAtItsDeadlineWhetherTheRequestWasSent) {
  with_server([](const Received&) { return Reply{"", false, 60s}; },
              [](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance()};
                std::vector<Error> errors;
                const auto post = [](Client& c, std::chrono::milliseconds limit,
                                     std::vector<Error>& out) -> awaitable<void> {
                  out.push_back(co_await error_of(
                      c.post("/a", {}, {.deadline = Deadline::after(limit), .doing = "try it"})));
                };
                std::vector<awaitable<void>> calls;
                for (int i = 0; i < 5; ++i) {
                  calls.push_back(post(client, i < 3 ? 300ms : 150ms, errors));
                }
                co_await all(std::move(calls));
                int maybe = 0;
                int no = 0;
                for (const auto& error : errors) {
                  EXPECT_EQ(error.kind, Errc::timeout);
                  EXPECT_EQ(error.doing, "try it");
                  EXPECT_EQ(error.path, "/a");
                  maybe += error.sent == Sent::maybe ? 1 : 0;
                  no += error.sent == Sent::no ? 1 : 0;
                }
                EXPECT_EQ(maybe, 3);
                EXPECT_EQ(no, 2);
              });
}

TEST(Client, refusesAnAnswerThatIsNoJsonObject) {
  for (const auto* body : {"", "[]", "{\"data\":", "7"}) {
    with_server([&](const Received&) { return testing::json_reply(body); },
                [](Bench& bench) -> awaitable<void> {
                  Client client{bench.executor, bench.pool, bench.instance()};
                  const auto error = co_await error_of(client.get("/a"));
                  EXPECT_EQ(error.kind, Errc::protocol);
                  EXPECT_EQ(error.sent, Sent::answered);
                });
  }
}

TEST(Client, parsesALargeAnswerInThePool) {
  const std::string large(3u << 20, 'x');
  with_server([&](const Received&) { return data_reply('"' + large + '"'); },
              [&](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance()};
                EXPECT_EQ((co_await client.get("/a")).as_string().size(), large.size());
              });
}

TEST(Client, knowsTheServersClock) {
  with_server(
      [](const Received&) {
        return Reply{
            "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 06:13:31 GMT\r\n"
            "Content-Length: 11\r\n\r\n{\"data\":1 }"};
      },
      [](Bench& bench) -> awaitable<void> {
        Client client{bench.executor, bench.pool, bench.instance()};
        EXPECT_EQ(client.clock_offset(), std::nullopt);
        co_await client.get("/a");
        const auto offset = client.clock_offset().value().count();
        EXPECT_NEAR(static_cast<double>(offset + std::time(nullptr)), 1795500811.0, 2.0);
      });
}

// Branches

struct CallRow {
  std::string answer;  ///< data
  std::function<awaitable<void>(Client&)> call;
  std::string method;
  std::string target;
  std::string body;
};

TEST(Branches, sendWhatTheApiDeclares) {
  const auto task = [](const std::string& type) {
    return "\"UPID:pve1:0000AB12:00345678:68A1B2C3:" + type + ":142:root@pam!test:\"";
  };
  const auto soon = [] { return Deadline::after(5s); };
  const std::vector<CallRow> rows{
      {R"({"version":"9.1.4"})",
       [](Client& c) -> awaitable<void> {
         EXPECT_EQ((co_await server_version(c)), (Version{9, 1, 4}));
       },
       "GET", "/version", ""},
      {R"([{"node":"pve1","status":"online"},{"node":"pve2","status":"offline"}])",
       [](Client& c) -> awaitable<void> {
         const auto list = co_await nodes::list(c);
         EXPECT_EQ(list.size(), 2u);
         EXPECT_TRUE(list[0].online);
         EXPECT_FALSE(list[1].online);
       },
       "GET", "/nodes", ""},
      {R"("142")",
       [](Client& c) -> awaitable<void> {
         EXPECT_EQ((co_await cluster::next_id(c)).number(), 142u);
       },
       "GET", "/cluster/nextid", ""},
      {R"([{"vmid":142,"name":"a","tags":"inspect;x","status":"running","template":1},
           {"vmid":"143","status":"stopped"}])",
       [](Client& c) -> awaitable<void> {
         const auto list = co_await qemu::list(c, vm.node);
         EXPECT_EQ(list.size(), 2u);
         EXPECT_TRUE(list[0].is_template);
         EXPECT_EQ(list[0].tags, (std::vector<std::string>{"inspect", "x"}));
         EXPECT_EQ(list[1].vmid.number(), 143u);
       },
       "GET", "/nodes/pve1/qemu", ""},
      {R"({"memory":"512","cores":2,"digest":"d","name":"a"})",
       [](Client& c) -> awaitable<void> {
         const auto config = co_await qemu::config(c, vm);
         EXPECT_EQ(config.digest, "d");
         EXPECT_EQ(config.get("cores"), "2");
         EXPECT_EQ(config.get("nothing"), "");
         EXPECT_EQ(config.values.size(), 3u);
       },
       "GET", "/nodes/pve1/qemu/142/config", ""},
      {task("qmcreate"),
       [=](Client& c) -> awaitable<void> {
         co_await qemu::create(c, vm, std::move(Params{}.add("memory", 512)), soon());
       },
       "POST", "/nodes/pve1/qemu", "memory=512&vmid=142"},
      {"null",
       [=](Client& c) -> awaitable<void> {
         co_await qemu::set_config(c, vm, std::move(Params{}.add("cores", 2)), soon());
       },
       "PUT", "/nodes/pve1/qemu/142/config", "cores=2"},
      {task("qmtemplate"),
       [=](Client& c) -> awaitable<void> { co_await qemu::make_template(c, vm, soon()); }, "POST",
       "/nodes/pve1/qemu/142/template", ""},
      {task("qmstart"), [=](Client& c) -> awaitable<void> { co_await qemu::start(c, vm, soon()); },
       "POST", "/nodes/pve1/qemu/142/status/start", ""},
      {task("qmshutdown"),
       [=](Client& c) -> awaitable<void> { co_await qemu::shutdown(c, vm, 20s, true, soon()); },
       "POST", "/nodes/pve1/qemu/142/status/shutdown", "timeout=20&forceStop=1"},
      {task("qmdestroy"),
       [=](Client& c) -> awaitable<void> { co_await qemu::destroy(c, vm, soon()); }, "DELETE",
       "/nodes/pve1/qemu/142?purge=1&destroy-unreferenced-disks=1", ""},
      {task("qmsnapshot"),
       [=](Client& c) -> awaitable<void> {
         co_await snapshot::create(c, vm, "before", true, "why", soon());
       },
       "POST", "/nodes/pve1/qemu/142/snapshot", "snapname=before&vmstate=1&description=why"},
      {task("qmrollback"),
       [=](Client& c) -> awaitable<void> { co_await snapshot::rollback(c, vm, "before", soon()); },
       "POST", "/nodes/pve1/qemu/142/snapshot/before/rollback", ""},
      {task("qmdelsnapshot"),
       [=](Client& c) -> awaitable<void> { co_await snapshot::remove(c, vm, "before", soon()); },
       "DELETE", "/nodes/pve1/qemu/142/snapshot/before", ""},
      {R"([{"name":"before","snaptime":5,"vmstate":1,"description":"x"},{"name":"current"}])",
       [](Client& c) -> awaitable<void> {
         const auto list = co_await snapshot::list(c, vm);
         EXPECT_EQ(list.size(), 1u);
         EXPECT_TRUE(list[0].with_memory);
       },
       "GET", "/nodes/pve1/qemu/142/snapshot", ""},
      {R"({"pid":7})",
       [](Client& c) -> awaitable<void> {
         EXPECT_EQ((co_await agent::exec(c, vm, {"/bin/sh"}, "\xff\n")), 7);
       },
       "POST", "/nodes/pve1/qemu/142/agent/exec",
       "{\"command\":[\"/bin/sh\"],\"input-data\":\"\xc3\xbf\\n\"}"},
      {R"({"exited":1,"exitcode":3,"out-data":"\u00ff\u0000a","err-data":"b","err-truncated":1})",
       [](Client& c) -> awaitable<void> {
         const auto status = co_await agent::exec_status(c, vm, 7);
         EXPECT_TRUE(status.exited);
         EXPECT_EQ(status.exit_code, 3);
         EXPECT_EQ(status.signal, std::nullopt);
         EXPECT_EQ(status.out, std::string("\xff\0a", 3));
         EXPECT_TRUE(status.err_truncated);
         EXPECT_FALSE(status.out_truncated);
       },
       "GET", "/nodes/pve1/qemu/142/agent/exec-status?pid=7", ""},
      {R"({"content":"YWI=Yw==","truncated":1})",
       [](Client& c) -> awaitable<void> {
         const auto piece = co_await agent::read_file(c, vm, "/a b", 5, 10);
         EXPECT_EQ(piece.bytes, "abc");
         EXPECT_TRUE(piece.truncated);
       },
       "GET", "/nodes/pve1/qemu/142/agent/file-read?file=%2Fa%20b&offset=5&count=10&decode=0", ""},
      {"null",
       [](Client& c) -> awaitable<void> { co_await agent::write_file(c, vm, "/a", "\xe9"); },
       "POST", "/nodes/pve1/qemu/142/agent/file-write",
       "{\"file\":\"/a\",\"content\":\"\xc3\xa9\"}"},
      {R"({"result":{}})", [](Client& c) -> awaitable<void> { co_await agent::ping(c, vm); },
       "POST", "/nodes/pve1/qemu/142/agent/ping", ""},
      {R"([{"storage":"local","type":"dir","content":"iso,images","active":1,"enabled":1,
            "avail":10,"total":20}])",
       [](Client& c) -> awaitable<void> {
         const auto list = co_await storage::list(c, vm.node);
         EXPECT_TRUE(list.at(0).holds("iso"));
         EXPECT_FALSE(list.at(0).holds("import"));
         EXPECT_EQ(list.at(0).available, 10);
       },
       "GET", "/nodes/pve1/storage", ""},
      {R"([{"volid":"local:iso/a.iso","content":"iso","format":"iso","size":4,"ctime":9}])",
       [](Client& c) -> awaitable<void> {
         const auto list = co_await storage::content(c, vm.node, StorageId::parse("local"), "iso");
         EXPECT_EQ(list.at(0).id.rest(), "iso/a.iso");
         EXPECT_EQ(list.at(0).vmid, std::nullopt);
       },
       "GET", "/nodes/pve1/storage/local/content?content=iso", ""},
      {task("imgdel"),
       [=](Client& c) -> awaitable<void> {
         co_await storage::delete_volume(c, vm.node, VolumeId::parse("local:iso/a.iso"), soon());
       },
       "DELETE", "/nodes/pve1/storage/local/content/local%3Aiso%2Fa.iso", ""},
      {R"([{"poolid":"p","members":[{"type":"qemu","node":"pve1","vmid":142},
            {"type":"storage","node":"pve1","storage":"local"}]}])",
       [](Client& c) -> awaitable<void> {
         EXPECT_EQ((co_await pools::members(c, "p")), std::vector<VmRef>{vm});
       },
       "GET", "/pools?poolid=p", ""},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.method + " " + row.target);
    with_server([&](const Received&) { return data_reply(row.answer); },
                [&](Bench& bench) -> awaitable<void> {
                  Client client{bench.executor, bench.pool, bench.instance()};
                  co_await row.call(client);
                  EXPECT_EQ(bench.server.received().size(), 1u);
                  const auto& request = bench.server.received().front();
                  EXPECT_EQ(request.method, row.method);
                  EXPECT_EQ(request.target, "/api2/json" + row.target);
                  EXPECT_EQ(request.body, row.body);
                });
  }
}

TEST(AgentFileRead, fallsBackForAnOlderServerAndRemembersIt) {
  with_server(
      [](const Received& r) {
        if (r.target.find("decode") == std::string::npos) {
          return data_reply(R"({"content":"0123456789\u00ff","bytes-read":11})");
        }
        const std::string body =
            R"({"data":null,"errors":{"decode":"property is not defined in schema and the schema )"
            R"(does not allow additional properties"}})";
        return Reply{"HTTP/1.1 400 Parameter verification failed.\r\nContent-Length: " +
                         std::to_string(body.size()) + "\r\n\r\n" + body,
                     true};
      },
      [](Bench& bench) -> awaitable<void> {
        Client client{bench.executor, bench.pool, bench.instance()};
        auto piece = co_await agent::read_file(client, vm, "/a", 8, 2);
        EXPECT_EQ(piece.bytes, "89");
        EXPECT_TRUE(piece.truncated);
        piece = co_await agent::read_file(client, vm, "/a", 8, 100);
        EXPECT_EQ(piece.bytes, "89\xff");
        EXPECT_FALSE(piece.truncated);
        EXPECT_EQ((co_await agent::read_file(client, vm, "/a", 50, 100)).bytes, "");
        EXPECT_EQ(bench.server.received().size(), 4u);
      });
}

TEST(AgentExec, refusesWhatWouldKillTheAgentsChannel) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    EXPECT_EQ((co_await error_of(agent::exec(client, vm, {"/bin/echo", "ü"}, ""))).kind,
              Errc::internal);
    EXPECT_EQ((co_await error_of(agent::exec(client, vm, {}, ""))).kind, Errc::internal);
    EXPECT_TRUE(bench.server.received().empty());
  });
}

}  // namespace
}  // namespace px::pve
