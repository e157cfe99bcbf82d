// The SDN's lock among processes of one machine and others, and what one leaves that dies with it.
#include "pve/sdn_lock.hpp"

#include "bench.hpp"
#include "pve/client.hpp"
#include "temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace px::pve {
namespace {

using namespace std::chrono_literals;
using testing::Bench;
using testing::data_reply;
using ::testing::ElementsAre;
using testing::error_of;
using testing::error_reply;
using ::testing::HasSubstr;
using testing::no_reply;
using testing::Received;
using testing::Reply;

/// A server's lock as Proxmox VE 9 keeps it (recorded exchange 24).
class LockServer {
 public:
  std::string token;              ///< of who has it; empty: free
  int answers_to_lose = 0;        ///< of requests for it, which are carried out
  std::vector<std::string> seen;  ///< "POST", "DELETE the-token", "DELETE --force"
  bool is_old = false;            ///< it knows no such route

  Reply operator()(const Received& request) {
    if (is_old || request.path() != "/cluster/sdn/lock") return error_reply(501, "Method");
    if (request.method == "DELETE") return give_back(request.target);
    seen.emplace_back("POST");
    if (!token.empty()) {
      return error_reply(500,
                         "could not acquire lock for SDN config: invalid lock token provided!");
    }
    token = fmt::format("token-{}", ++given_);
    return answers_to_lose-- > 0 ? no_reply() : data_reply('"' + token + '"');
  }

 private:
  Reply give_back(const std::string& target) {
    const bool force = target.find("force=1") != std::string::npos;
    const auto of = target.substr(target.find('=') + 1);
    seen.push_back("DELETE " + (force ? "--force" : of));
    if (!force && of != token) return error_reply(500, "invalid lock token provided!");
    token.clear();
    return data_reply("null");
  }
  int given_ = 0;
};

class SdnLock : public ::testing::Test {
 protected:
  using Test = std::function<awaitable<void>(Client&)>;

  void with_client(Test test) {
    testing::with_server(std::ref(server_), [&](Bench& bench) -> awaitable<void> {
      auto instance = bench.instance();
      instance.state_directory = directory_.path();
      file_ = directory_.path() / "sdn" / fmt::format("127.0.0.1:{}", instance.port);
      Client client{bench.executor, bench.pool, instance};
      co_await test(client);
    });
  }
  /// As a process that was killed then left it.
  void leave(const std::string& line) const { FileLock{file_}.write_line(line); }

  testing::TemporaryDirectory directory_;
  std::filesystem::path file_;
  LockServer server_;
};

TEST_F(SdnLock, isWaitedForAndMissingOnOldServers) {
  with_client([&](Client& client) -> awaitable<void> {
    server_.token = "theirs";
    auto end_theirs = [](LockServer& server) -> awaitable<void> {
      co_await sleep_for(150ms);
      server.token.clear();
    };
    auto take = [](Client& of) -> awaitable<void> {
      auto lock = co_await sdn::lock(of);
      EXPECT_EQ(lock.token(), "token-1");
      co_await sdn::unlock(of, lock);
      EXPECT_FALSE(lock.token());
    };
    std::vector<awaitable<void>> work;
    work.push_back(end_theirs(server_));
    work.push_back(take(client));
    co_await all(std::move(work));
    EXPECT_EQ(server_.token, "");
    server_.is_old = true;
    EXPECT_EQ((co_await sdn::lock(client)).token(), std::nullopt);
  });
}

TEST_F(SdnLock, thatStaysTakenIsAnErrorThatSaysHowToBreakIt) {
  with_client([&](Client& client) -> awaitable<void> {
    server_.token = "theirs";
    const auto error = co_await error_of(sdn::lock(client, 250ms));
    EXPECT_EQ(error.kind, Errc::busy);
    EXPECT_THAT(error.hint, HasSubstr("--force 1"));
    EXPECT_EQ(FileLock{file_}.line(), "") << "the next one must not take theirs for ours";
  });
}

TEST_F(SdnLock, isWaitedForInTurnWhileAStrangerHasIt) {
  with_client([&](Client& client) -> awaitable<void> {
    server_.token = "theirs";
    auto look = [](std::filesystem::path file) -> awaitable<void> {
      co_await sleep_for(250ms);
      EXPECT_FALSE(FileLock{file}.try_take());
    };
    auto wait = [](Client& of) -> awaitable<void> {
      EXPECT_EQ((co_await error_of(sdn::lock(of, 500ms))).kind, Errc::busy);
    };
    std::vector<awaitable<void>> work;
    work.push_back(look(file_));
    work.push_back(wait(client));
    co_await all(std::move(work));
    EXPECT_TRUE(FileLock{file_}.try_take());
  });
}

TEST_F(SdnLock, isNotWaitedForAfterACancellation) {
  with_client([&](Client& client) -> awaitable<void> {
    server_.token = "theirs";
    auto wait = [](Client& of) -> awaitable<void> { co_await sdn::lock(of, 3s); };
    const auto error =
        co_await error_of(with_deadline(wait(client), Deadline::after(300ms), "waiting"));
    EXPECT_EQ(error.kind, Errc::timeout) << error.what();
  });
}

TEST_F(SdnLock, isAskedForByOneProcessOfAMachineAtATime) {
  with_client([&](Client& client) -> awaitable<void> {
    auto take = [](Client& of) -> awaitable<void> {
      auto lock = co_await sdn::lock(of);
      co_await sleep_for(20ms);
      co_await sdn::unlock(of, lock);
    };
    std::vector<awaitable<void>> work;
    for (int i = 0; i < 5; ++i) work.push_back(take(client));
    co_await all(std::move(work));
    EXPECT_EQ(server_.seen.size(), 10U) << "nobody was refused";
  });
}

TEST_F(SdnLock, ofADeadProcessIsGivenBackAtOnce) {
  with_client([&](Client& client) -> awaitable<void> {
    server_.token = "the-dead-ones";
    leave("the-dead-ones");
    const auto lock = co_await sdn::lock(client);
    EXPECT_EQ(lock.token(), "token-1");
    EXPECT_THAT(server_.seen, ElementsAre("DELETE the-dead-ones", "POST"));
  });
}

TEST_F(SdnLock, isLeftToItsOwnerWhenADeadProcessHadAnotherToken) {
  with_client([&](Client& client) -> awaitable<void> {
    server_.token = "theirs";
    leave("the-dead-ones");
    EXPECT_EQ((co_await error_of(sdn::lock(client, 250ms))).kind, Errc::busy);
    EXPECT_EQ(server_.token, "theirs");
  });
}

TEST_F(SdnLock, whoseTokenWentWithADeadProcessIsBroken) {
  with_client([&](Client& client) -> awaitable<void> {
    server_.token = "unknown";
    leave("asked");
    EXPECT_EQ((co_await sdn::lock(client)).token(), "token-1");
    EXPECT_THAT(server_.seen, ::testing::Contains("DELETE --force").Times(1));
  });
}

TEST_F(SdnLock, whoseAnswerWasLostIsBroken) {
  with_client([&](Client& client) -> awaitable<void> {
    server_.answers_to_lose = 1;
    EXPECT_EQ((co_await sdn::lock(client)).token(), "token-2");
  });
}

TEST_F(SdnLock, ofTheDeadIsGivenBackByWhoeverCleansUp) {
  with_client([&](Client& client) -> awaitable<void> {
    co_await sdn::unlock_for_the_dead(client);
    EXPECT_THAT(server_.seen, ::testing::IsEmpty());
    server_.token = "the-dead-ones";
    leave("the-dead-ones");
    co_await sdn::unlock_for_the_dead(client);
    co_await sdn::unlock_for_the_dead(client);
    EXPECT_THAT(server_.seen, ElementsAre("DELETE the-dead-ones"));
  });
}

TEST_F(SdnLock, isHadWithoutAPlaceForItsFile) {
  std::ofstream{directory_.path() / "sdn"} << "no directory";
  with_client([&](Client& client) -> awaitable<void> {
    EXPECT_EQ((co_await sdn::lock(client)).token(), "token-1");
  });
}

}  // namespace
}  // namespace px::pve
