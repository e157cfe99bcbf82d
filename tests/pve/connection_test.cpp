#include "pve/connection.hpp"

#include "bench.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace px::pve {
namespace {

using namespace std::chrono_literals;
using testing::Bench;
using testing::data_reply;
using testing::error_of;
using testing::error_reply;
using testing::make_certificate;
using testing::no_reply;
using testing::Received;
using testing::Reply;
using testing::with_server;

HttpRequest get(std::string target) {
  HttpRequest request;
  request.method = "GET";
  request.target = std::move(target);
  return request;
}

HttpRequest post(std::string target, std::string body) {
  auto request = get(std::move(target));
  request.method = "POST";
  request.body = std::move(body);
  return request;
}

Reply always_fine(const Received&) {
  return data_reply("1");
}

TEST(Connection, isKeptForTheNextRequestThoughTheFirstConnectionLineSaysClose) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    ConnectionPool pool{bench.executor, bench.instance()};
    for (int i = 0; i < 5; ++i) {
      const auto response = co_await pool.send(get("/api2/json/version"));
      EXPECT_EQ(response.status, 200);
      EXPECT_EQ(response.body, R"({"data":1})");
    }
    EXPECT_EQ(bench.server.connections(), 1);
    EXPECT_EQ(bench.server.received().back().on_this_connection, 5);
  });
}

TEST(Connection, sendsWhatTheServerWants) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    auto instance = bench.instance();
    instance.extra_headers.emplace_back("X-Gate", Secret{"open"});
    ConnectionPool pool{bench.executor, instance};
    co_await pool.send(get("/a?b=c"));
    co_await pool.send(post("/d", "e=f"));
    co_await pool.send(post("/g", ""));
    const auto& first = bench.server.received()[0];
    EXPECT_EQ(first.target, "/a?b=c");
    EXPECT_EQ(first.header("host"), "127.0.0.1:" + std::to_string(bench.server.port()));
    EXPECT_EQ(first.header("x-gate"), "open");
    EXPECT_FALSE(first.headers.contains("content-length"));
    EXPECT_EQ(bench.server.received()[1].body, "e=f");
    EXPECT_EQ(bench.server.received()[2].header("content-length"), "0");
  });
}

TEST(Connection, isNotUsedAgainAfterAnErrorAnswer) {
  with_server([](const Received&) { return error_reply(500, "no"); },
              [](Bench& bench) -> awaitable<void> {
                ConnectionPool pool{bench.executor, bench.instance()};
                for (int i = 0; i < 2; ++i) {
                  const auto response = co_await pool.send(get("/"));
                  EXPECT_EQ(response.status, 500);
                  EXPECT_EQ(response.reason, "no");
                }
                EXPECT_EQ(bench.server.connections(), 2);
              });
}

TEST(Connection, isLeftBeforeTheServersHundredthRequest) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    ConnectionPool pool{bench.executor, bench.instance()};
    for (int i = 0; i < 150; ++i) co_await pool.send(get("/"));
    EXPECT_EQ(bench.server.connections(), 2);
    for (const auto& request : bench.server.received()) EXPECT_LT(request.on_this_connection, 100);
  });
}

TEST(Connection, thatTheServerClosedWhileIdleIsNoticedBeforeItIsUsed) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    bench.server.idle_limit = 30ms;
    ConnectionPool pool{bench.executor, bench.instance()};
    co_await pool.send(get("/"));
    co_await sleep_for(100ms);
    // A POST would be in doubt had it been written into the closed connection.
    EXPECT_EQ((co_await pool.send(post("/", "a=b"))).status, 200);
    EXPECT_EQ(bench.server.connections(), 2);
  });
}

TEST(Connection, isItsOwnForARequestThatAsksForIt) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    ConnectionPool pool{bench.executor, bench.instance()};
    co_await pool.send(get("/"));
    auto request = post("/", "a=b");
    request.fresh = true;
    co_await pool.send(request);
    co_await pool.send(get("/"));
    EXPECT_EQ(bench.server.received()[1].connection, 2);
    EXPECT_EQ(bench.server.received()[2].connection, 1);
  });
}

TEST(Connection, saysWhetherALostRequestMayHaveBeenSeen) {
  with_server([](const Received&) { return no_reply(); },
              [](Bench& bench) -> awaitable<void> {
                ConnectionPool pool{bench.executor, bench.instance()};
                const auto error = co_await error_of(pool.send(post("/", "a=b")));
                EXPECT_EQ(error.kind, Errc::unreachable);
                EXPECT_EQ(error.sent, Sent::maybe);
                EXPECT_NE(error.host.find("127.0.0.1:"), std::string::npos);
              });
}

TEST(Connection, treatsAnAnswerThatIsCutAsLost) {
  const std::string whole = data_reply("\"0123456789\"").bytes;
  for (std::size_t length = 1; length < whole.size(); length += 7) {
    with_server([&](const Received&) { return Reply{whole.substr(0, length), true}; },
                [](Bench& bench) -> awaitable<void> {
                  ConnectionPool pool{bench.executor, bench.instance()};
                  const auto error = co_await error_of(pool.send(get("/")));
                  EXPECT_EQ(name_of(error.kind), name_of(Errc::unreachable)) << error.what();
                  EXPECT_EQ(error.sent, Sent::maybe);
                });
  }
}

TEST(Connection, refusesAnAnswerThatIsNoHttp) {
  with_server([](const Received&) { return Reply{"SSH-2.0-OpenSSH_9.2\r\n\r\n", true}; },
              [](Bench& bench) -> awaitable<void> {
                ConnectionPool pool{bench.executor, bench.instance()};
                EXPECT_EQ((co_await error_of(pool.send(get("/")))).kind, Errc::protocol);
              });
}

TEST(Connection, reportsAPortWhereNobodyListens) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    const auto instance = bench.instance();
    bench.server.stop();
    ConnectionPool pool{bench.executor, instance};
    const auto error = co_await error_of(pool.send(get("/")));
    EXPECT_EQ(error.kind, Errc::unreachable);
    EXPECT_EQ(error.sent, Sent::no);
    EXPECT_NE(error.said.find("refused"), std::string::npos);
    EXPECT_NE(error.hint.find("PROXMOX_PORT"), std::string::npos);
  });
}

TEST(Connection, reportsANameThatNobodyHas) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    auto instance = bench.instance();
    instance.host = "no-such-host.invalid";
    ConnectionPool pool{bench.executor, instance};
    const auto error = co_await error_of(pool.send(get("/")));
    EXPECT_EQ(error.kind, Errc::unreachable);
    EXPECT_EQ(error.sent, Sent::no);
    EXPECT_NE(error.hint.find("PROXMOX_HOST"), std::string::npos);
  });
}

TEST(Connection, endsWhenItsRequestIsCancelled) {
  with_server([](const Received&) { return Reply{"", false, 60s}; },
              [](Bench& bench) -> awaitable<void> {
                ConnectionPool pool{bench.executor, bench.instance()};
                const auto started = std::chrono::steady_clock::now();
                const auto error = co_await error_of(
                    with_deadline(pool.send(get("/")), Deadline::after(100ms), "get"));
                EXPECT_EQ(error.kind, Errc::timeout);
                EXPECT_LT(std::chrono::steady_clock::now() - started, 2s);
              });
}

TEST(Connection, withstandsALossAtEachOfItsRequests) {
  // The n-th request is lost: exactly it fails, the ones around it don't.
  for (int lost = 1; lost <= 6; ++lost) {
    int count = 0;
    with_server([&](const Received&) { return ++count == lost ? no_reply() : data_reply("1"); },
                [&](Bench& bench) -> awaitable<void> {
                  ConnectionPool pool{bench.executor, bench.instance()};
                  for (int n = 1; n <= 6; ++n) {
                    bool failed = false;
                    try {
                      co_await pool.send(post("/", "a=b"));
                    } catch (const Error& e) {
                      failed = true;
                      EXPECT_EQ(e.sent, Sent::maybe);
                    }
                    EXPECT_EQ(failed, n == lost);
                  }
                  EXPECT_EQ(bench.server.received().size(), 6u);
                });
  }
}

// Certificates

TEST(Tls, refusesASelfSignedCertificateAndShowsItsFingerprint) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    auto instance = bench.instance();
    instance.fingerprint.clear();
    ConnectionPool pool{bench.executor, instance};
    const auto error = co_await error_of(pool.send(get("/")));
    EXPECT_EQ(error.kind, Errc::tls);
    EXPECT_EQ(error.sent, Sent::no);
    EXPECT_NE(error.said.find("self-signed"), std::string::npos) << error.said;
    EXPECT_NE(error.hint.find("PROXMOX_FINGERPRINT=" +
                              show_fingerprint(bench.server.certificate().fingerprint)),
              std::string::npos)
        << error.hint;
    EXPECT_TRUE(bench.server.received().empty());
  });
}

TEST(Tls, refusesACertificateWithAnotherFingerprintBeforeAnythingIsSent) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    auto instance = bench.instance();
    instance.fingerprint = std::string(64, 'a');
    ConnectionPool pool{bench.executor, instance};
    const auto error = co_await error_of(pool.send(get("/")));
    EXPECT_EQ(error.kind, Errc::tls);
    EXPECT_EQ(error.sent, Sent::no);
    EXPECT_NE(error.said.find(show_fingerprint(bench.server.certificate().fingerprint)),
              std::string::npos);
    EXPECT_TRUE(bench.server.received().empty());
  });
}

TEST(Tls, refusesAnExpiredCertificateEvenOfAKnownAuthority) {
  const auto expired = make_certificate({.name = "localhost", .days_from_now = -1});
  const auto file = std::filesystem::temp_directory_path() /
                    ("px-expired-" + std::to_string(::getpid()) + ".pem");
  std::ofstream{file} << expired.certificate_pem;
  with_server(
      always_fine,
      [&](Bench& bench) -> awaitable<void> {
        auto instance = bench.instance();
        instance.fingerprint.clear();
        instance.ca_file = file;
        ConnectionPool pool{bench.executor, instance};
        const auto error = co_await error_of(pool.send(get("/")));
        EXPECT_EQ(error.kind, Errc::tls);
        EXPECT_NE(error.said.find("expired"), std::string::npos) << error.said;
        EXPECT_NE(error.hint.find("Renew"), std::string::npos);
        // A pin replaces the checks of chain, time and name.
        instance.fingerprint = bench.server.certificate().fingerprint;
        ConnectionPool pinned{bench.executor, instance};
        EXPECT_EQ((co_await pinned.send(get("/"))).status, 200);
      },
      expired);
  std::filesystem::remove(file);
}

TEST(Tls, trustsAnAuthorityFromAFileForTheNamesInTheCertificate) {
  const auto other = make_certificate({.name = "pve.example.com"});
  const auto file =
      std::filesystem::temp_directory_path() / ("px-ca-" + std::to_string(::getpid()) + ".pem");
  std::ofstream{file} << testing::usual_certificate().certificate_pem << other.certificate_pem;
  with_server(always_fine, [&](Bench& bench) -> awaitable<void> {
    for (const auto* host : {"127.0.0.1", "localhost"}) {
      auto instance = bench.instance();
      instance.fingerprint.clear();
      instance.ca_file = file;
      instance.host = host;
      ConnectionPool pool{bench.executor, instance};
      EXPECT_EQ((co_await pool.send(get("/"))).status, 200);
    }
  });
  with_server(
      always_fine,
      [&](Bench& bench) -> awaitable<void> {
        auto instance = bench.instance();
        instance.fingerprint.clear();
        instance.ca_file = file;
        ConnectionPool pool{bench.executor, instance};
        const auto error = co_await error_of(pool.send(get("/")));
        EXPECT_EQ(error.kind, Errc::tls);
        EXPECT_NE(error.said.find("IP address mismatch"), std::string::npos) << error.said;
      },
      other);
  std::filesystem::remove(file);
}

TEST(Tls, checksNothingWhenToldSo) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    auto instance = bench.instance();
    instance.fingerprint.clear();
    instance.verify_tls = false;
    ConnectionPool pool{bench.executor, instance};
    EXPECT_EQ((co_await pool.send(get("/"))).status, 200);
  });
}

TEST(Tls, namesAnAuthorityFileThatCantBeRead) {
  with_server(always_fine, [](Bench& bench) -> awaitable<void> {
    auto instance = bench.instance();
    instance.fingerprint.clear();
    instance.ca_file = "/nonexistent/ca.pem";
    try {
      ConnectionPool pool{bench.executor, instance};
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Errc::bad_input);
      EXPECT_NE(e.said.find("/nonexistent/ca.pem"), std::string::npos);
    }
    co_return;
  });
}

}  // namespace
}  // namespace px::pve
