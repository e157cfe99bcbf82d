#include "pve/console.hpp"

#include "bench.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::pve {
namespace {

using namespace std::chrono_literals;
using console::Greeting;
using px::testing::Bench;
using px::testing::data_reply;
using px::testing::error_of;
using px::testing::error_reply;
using px::testing::Received;
using px::testing::with_server;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string greeting = "OKstarting serial terminal on interface serial0\r\n";

TEST(ConsoleGreeting, isTakenOffHoweverItIsCut) {
  const auto all = greeting + "[ 1.0] hello\r\nOK\n";
  for (std::size_t piece = 1; piece <= all.size(); ++piece) {
    Greeting sut;
    std::string guest;
    for (std::size_t at = 0; at < all.size(); at += piece) {
      guest += sut.after(std::string_view{all}.substr(at, piece));
    }
    EXPECT_EQ(guest, "[ 1.0] hello\r\nOK\n") << piece;
  }
}

TEST(ConsoleGreeting, isNotWhatTheTerminalSaysInstead) {
  for (const std::string words :
       {"OKunable to find a serial interface\r\n", "OKVM 101 not running\r\n", "guest\r\n"}) {
    Greeting sut;
    EXPECT_THROW(sut.after(words), Error) << words;
  }
  Greeting endless;
  EXPECT_THROW(for (int i = 0; i < 100; ++i) endless.after("OK" + std::string(100, 'x')), Error);
}

TEST(ConsolePort, isTheFirstThatATerminalCanUse) {
  const auto port_of = [](std::map<std::string, std::string> options) {
    return console::port_of({std::move(options), ""});
  };
  EXPECT_EQ(port_of({}), std::nullopt);
  EXPECT_EQ(port_of({{"serial0", "socket"}}), 0);
  EXPECT_EQ(port_of({{"serial0", "/dev/ttyS0"}, {"serial2", "socket"}}), 2);
}

/// The server of a VM with a console, whose WebSocket it refuses.
px::testing::Reply refuse(const Received& request) {
  if (request.path().ends_with("/config")) return data_reply(R"({"serial1": "socket"})");
  if (request.path().ends_with("/termproxy")) {
    return data_reply(R"({"port": "5901", "ticket": "PVEVNC:SESAME", "user": "root@pam!test"})");
  }
  return error_reply(401, "permission denied - invalid PVEVNC ticket");
}

const VmRef vm{NodeName::parse("pve1"), Vmid::parse("101")};
void ignore(std::string_view /*bytes*/) {}

TEST(Console, isOpenedByATicketThatNoErrorTells) {
  with_server(refuse, [](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    const auto error = co_await error_of(console::listen(client, vm, ignore, Deadline::after(10s)));
    EXPECT_EQ(error.status, 401);
    EXPECT_THAT(error.what(), HasSubstr("/nodes/pve1/qemu/101/vncwebsocket on 127.0.0.1"));
    EXPECT_THAT(error.what(), Not(HasSubstr("SESAME")));
    EXPECT_EQ(bench.server.received().at(1).body, "serial=serial1");
    const auto& upgrade = bench.server.received().at(2);
    EXPECT_THAT(upgrade.target, HasSubstr("?port=5901&vncticket=PVEVNC%3ASESAME"));
    EXPECT_EQ(upgrade.header("upgrade"), "websocket");
    EXPECT_EQ(upgrade.header("sec-websocket-protocol"), "binary");
    EXPECT_THAT(upgrade.header("authorization"), HasSubstr("PVEAPIToken=root@pam!test="));
  });
}

TEST(Console, ofAVmWithoutASerialPortIsNotTried) {
  const auto handler = [](const Received&) { return data_reply(R"({"vga": "std"})"); };
  with_server(handler, [](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    co_await console::listen(client, vm, ignore, Deadline::after(10s));
    EXPECT_EQ(bench.server.received().size(), 1U);
  });
}

TEST(Console, isListenedToUntilTheLimitAtMost) {
  const auto handler = [](const Received& request) {
    auto reply = refuse(request);
    if (request.path().ends_with("/termproxy")) reply.delay = 1min;
    return reply;
  };
  with_server(handler, [](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    const auto started = std::chrono::steady_clock::now();
    co_await console::listen(client, vm, ignore, Deadline::after(300ms));
    EXPECT_LT(std::chrono::steady_clock::now() - started, 30s);
  });
}

}  // namespace
}  // namespace px::pve
