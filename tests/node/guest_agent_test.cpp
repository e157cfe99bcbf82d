#include "node/vm/guest_agent.hpp"

#include "run.hpp"
#include "support/bytes.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>

namespace px::node {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using asio::local::stream_protocol;

/// An agent on a unix socket that answers as qemu-ga does, with a few ways to misbehave.
class FakeAgent {
 public:
  explicit FakeAgent(const asio::any_io_executor& executor)
      : directory_{fs::temp_directory_path() / ("px-agent-" + random_hex(8))},
        acceptor_{(fs::create_directories(directory_), executor), {path().string()}} {}
  ~FakeAgent() { fs::remove_all(directory_); }

  fs::path path() const { return directory_ / "101.qga"; }

  /// Serves until cancelled.
  awaitable<void> serve() {
    for (;;) {
      auto socket = co_await acceptor_.async_accept(asio::use_awaitable);
      ++connections;
      try {
        co_await serve_one(socket);
      } catch (const boost::system::system_error& error) {
        if (error.code() == asio::error::operation_aborted) throw;
      }
    }
  }

  int connections = 0;
  int swallow_syncs = 0;      ///< so many syncs are lost, as by a guest that is not up yet
  bool swallow_next = false;  ///< the next command gets its answer only before the one after it
  bool hang_up = false;       ///< the next command ends the connection
  std::vector<std::string> commands;

 private:
  awaitable<void> say(stream_protocol::socket& socket, std::string text) {
    co_await asio::async_write(socket, asio::buffer(text), asio::use_awaitable);
  }

  awaitable<void> serve_one(stream_protocol::socket& socket) {
    std::string buffer;
    std::string late;
    for (;;) {
      const auto length = co_await asio::async_read_until(socket, asio::dynamic_buffer(buffer),
                                                          '\n', asio::use_awaitable);
      std::string line = buffer.substr(0, length - 1);
      buffer.erase(0, length);
      // The real agent complains about the 0xFF and goes on behind it.
      if (const auto delimiter = line.rfind('\xFF'); delimiter != std::string::npos) {
        line.erase(0, delimiter + 1);
        if (swallow_syncs == 0) {
          co_await say(socket, "{\"error\": {\"desc\": \"JSON parse error, stray '\\uFFFD'\"}}\n");
        }
      }
      const json::value request = json::parse(line, "request");
      const std::string command = json::text_at(request, "execute");
      if (command == "guest-sync-delimited") {
        if (swallow_syncs > 0) {
          --swallow_syncs;
          continue;
        }
        co_await say(socket, std::exchange(late, {}));
        co_await say(socket, fmt::format("\xFF{{\"return\": {}}}\n",
                                         json::number_at(*json::find(request, "arguments"), "id")));
        continue;
      }
      commands.push_back(command);
      if (std::exchange(hang_up, false)) co_return;
      const auto id = json::number_at(request, "id");
      std::string answer =
          fmt::format("{{\"return\": {{\"of\": \"{}\"}}, \"id\": {}}}\n", command, id);
      if (command == "guest-bad") {
        answer = fmt::format(
            "{{\"error\": {{\"desc\": \"Invalid parameter 'pid'\"}}, \"id\": {}}}\n", id);
      }
      if (std::exchange(swallow_next, false)) {
        late = answer;
      } else {
        co_await say(socket, answer);
      }
    }
  }

  fs::path directory_;
  stream_protocol::acceptor acceptor_;
};

/// Runs `use` beside a fake agent.
template <class Use>
void with_agent(Use use) {
  auto body = [](Use action) -> awaitable<void> {
    using namespace asio::experimental::awaitable_operators;
    const auto executor = co_await asio::this_coro::executor;
    FakeAgent fake{executor};
    GuestAgent agent{executor, fake.path()};
    co_await (fake.serve() || action(agent, fake));
  };
  testing::run(body(use));
}

TEST(GuestAgent, keepsOneConnectionForManyCalls) {
  with_agent([](GuestAgent& agent, FakeAgent& fake) -> awaitable<void> {
    for (int i = 0; i < 5; ++i) {
      const json::value answer = co_await agent.call("guest-ping", {}, 1s);
      EXPECT_EQ(json::text_at(answer, "of"), "guest-ping");
    }
    EXPECT_EQ(fake.connections, 1);
  });
}

TEST(GuestAgent, waitsForAGuestThatIsNotUpYetAndSendsItsSyncAgain) {
  with_agent([](GuestAgent& agent, FakeAgent& fake) -> awaitable<void> {
    fake.swallow_syncs = 2;
    const json::value answer = co_await agent.call("guest-ping", {}, 10s);
    EXPECT_EQ(json::text_at(answer, "of"), "guest-ping");
    EXPECT_EQ(fake.commands.size(), 1U);
  });
}

TEST(GuestAgent, saysAgentDownWhenNobodyAnswersInTime) {
  with_agent([](GuestAgent& agent, FakeAgent& fake) -> awaitable<void> {
    fake.swallow_syncs = 1000;
    try {
      co_await agent.call("guest-ping", {}, 100ms);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind, Errc::agent_down);
    }
    EXPECT_TRUE(fake.commands.empty()) << "no command is left behind for later";
  });
}

TEST(GuestAgent, dropsTheLateAnswerOfALostCall) {
  with_agent([](GuestAgent& agent, FakeAgent& fake) -> awaitable<void> {
    co_await agent.call("guest-ping", {}, 1s);
    fake.swallow_next = true;
    EXPECT_THROW(co_await agent.call("guest-exec", {}, 50ms), Error);
    const json::value answer = co_await agent.call("guest-info", {}, 1s);
    EXPECT_EQ(json::text_at(answer, "of"), "guest-info");
  });
}

TEST(GuestAgent, connectsAgainAfterTheConnectionBroke) {
  with_agent([](GuestAgent& agent, FakeAgent& fake) -> awaitable<void> {
    fake.hang_up = true;
    try {
      co_await agent.call("guest-exec", {}, 1s);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind, Errc::agent_down);
    }
    EXPECT_EQ(fake.commands.size(), 1U) << "a lost command is not sent twice";
    co_await agent.call("guest-ping", {}, 1s);
    EXPECT_EQ(fake.connections, 2);
  });
}

TEST(GuestAgent, endsAWaitingCallWhenTheMachineGoes) {
  with_agent([](GuestAgent& agent, FakeAgent& fake) -> awaitable<void> {
    fake.swallow_syncs = 1000;
    auto go = [](GuestAgent& port) -> awaitable<void> {
      co_await sleep_for(30ms);
      port.close();
    };
    auto wait = [](GuestAgent& port) -> awaitable<void> {
      try {
        co_await port.call("guest-ping", {}, 5s);
        ADD_FAILURE() << "no error";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind, Errc::agent_down);
      }
    };
    std::vector<awaitable<void>> both;
    both.push_back(wait(agent));
    both.push_back(go(agent));
    const auto started = std::chrono::steady_clock::now();
    co_await all(std::move(both));
    EXPECT_LT(std::chrono::steady_clock::now() - started, 2s);
  });
}

TEST(GuestAgent, tellsTheAgentsOwnRefusal) {
  with_agent([](GuestAgent& agent, FakeAgent&) -> awaitable<void> {
    try {
      co_await agent.call("guest-bad", {}, 1s);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind, Errc::rejected);
      EXPECT_EQ(error.said, "Invalid parameter 'pid'");
    }
  });
}

TEST(GuestAgent, servesManyCallersInTurn) {
  with_agent([](GuestAgent& agent, FakeAgent& fake) -> awaitable<void> {
    std::vector<awaitable<void>> calls;
    auto one = [](GuestAgent& port) -> awaitable<void> {
      co_await port.call("guest-ping", {}, 5s);
    };
    for (int i = 0; i < 50; ++i) calls.push_back(one(agent));
    co_await all(std::move(calls));
    EXPECT_EQ(fake.commands.size(), 50U);
    EXPECT_EQ(fake.connections, 1);
  });
}

}  // namespace
}  // namespace px::node
