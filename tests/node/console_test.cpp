// Terminals on serial ports, as their clients on the wire see them (pve-facts section 13).
#include "node/vm/console_routes.hpp"
#include "node_under_test.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

namespace px::node {
namespace {

using px::testing::Headers;
using px::testing::NodeUnderTest;
using px::testing::RawClient;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct InputRow {
  std::string name;
  std::vector<std::string> messages;
  std::optional<std::string> bytes;  ///< nothing: refused
};

class Input : public ::testing::TestWithParam<InputRow> {};

TEST_P(Input, isTakenOutOfTheClientsMessages) {
  TerminalInput sut;
  std::string bytes;
  const auto feed = [&] {
    for (const auto& message : GetParam().messages) bytes += sut.add(message);
  };
  if (!GetParam().bytes) {
    EXPECT_THROW(feed(), Error);
    return;
  }
  feed();
  EXPECT_EQ(bytes, *GetParam().bytes);
}

INSTANTIATE_TEST_SUITE_P(
    Row, Input,
    ::testing::Values(InputRow{"text", {"0:2:ls", "0:1:\r"}, "ls\r"},
                      InputRow{"sizesAndSignsOfLife", {"1:80:25:2", "2", "0:1:x"}, "x"},
                      InputRow{"severalInOne", {"0:1:a20:1:b1:1:1:0:2:cd"}, "abcd"},
                      InputRow{"colonsInText", {"0:3::::"}, ":::"},
                      InputRow{"cutAnywhere", {"0", ":", "3", ":", "a", "bc", "1:8", "0:2"}, "abc"},
                      InputRow{"anUnknownKind", {"3:1:x"}, std::nullopt},
                      InputRow{"noLength", {"0:x:"}, std::nullopt},
                      InputRow{"aNegativeLength", {"0:-1:x"}, std::nullopt},
                      InputRow{"aLengthBeyondTheFrame", {"0:131073:"}, std::nullopt},
                      InputRow{"anEndlessNumber", {"0:00000000000000000000000"}, std::nullopt}),
    [](const auto& info) { return info.param.name; });

class ChattyGuest : public SimulatedGuest {
 public:
  std::atomic<int> left = 2;
  std::string console(int vmid) override {
    return left-- > 0 ? fmt::format("hello of {}\r\n", vmid) : "";
  }
};

class Console : public ::testing::Test {
 protected:
  Console() : node_{options()} {
    make(101, "serial0=socket");
    finish(node_.call("POST", vm(101) + "/status/start"));
  }

  static NodeOptions options() {
    auto out = NodeUnderTest::options_for("proxmox");
    out.simulation->guest = std::make_shared<ChattyGuest>();
    return out;
  }
  static std::string vm(int vmid) { return fmt::format("/nodes/proxmox/qemu/{}", vmid); }
  void finish(const px::testing::Reply& reply) const {
    ASSERT_EQ(reply.status, 200) << reply.reason;
    EXPECT_EQ(node_.end_of_task(reply.text()), "OK");
  }
  void make(int vmid, const std::string& options) const {
    finish(node_.call("POST", "/nodes/proxmox/qemu", fmt::format("vmid={}&{}", vmid, options)));
  }

  /// What POST termproxy gives.
  json::value open(int vmid, const std::string& form = {}) const {
    const auto reply = node_.call("POST", vm(vmid) + "/termproxy", form);
    EXPECT_EQ(reply.status, 200) << reply.reason;
    return reply.data();
  }
  static std::string query(const json::value& terminal) {
    return fmt::format("port={}&vncticket={}", json::text_at(terminal, "port"),
                       percent_encode(json::text_at(terminal, "ticket")));
  }
  std::string end_of(const json::value& terminal) const {
    return node_.end_of_task(json::text_at(terminal, "upid"));
  }

  NodeUnderTest node_;
};

/// A WebSocket's client, byte by byte (RFC 6455 section 5.2).
class Terminal {
 public:
  Terminal(const NodeUnderTest& node, const std::string& target) : client_{node.port()} {
    auto headers = node.token();
    headers.insert(headers.end(), {{"Connection", "Upgrade"},
                                   {"Upgrade", "websocket"},
                                   {"Sec-WebSocket-Version", "13"},
                                   {"Sec-WebSocket-Protocol", "binary"},
                                   {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}});
    client_.send(px::testing::render_request("GET", "/api2/json" + target, headers, ""));
    answer = client_.receive();
  }

  /// Masked, with a mask of zeros.
  void send(const std::string& text) {
    std::string frame{"\x82"};
    if (text.size() < 126) {
      frame += static_cast<char>(0x80 | text.size());
    } else {
      frame += {static_cast<char>(0xFE), static_cast<char>(text.size() >> 8),
                static_cast<char>(text.size() & 0xFF)};
    }
    client_.send(frame + std::string(4, '\0') + text);
  }

  /// The next message; "closed" at the end.
  std::string receive() {
    const auto head = client_.read(2);
    if (head.size() < 2 || static_cast<unsigned char>(head[0]) != 0x82) return "closed";
    return client_.read(static_cast<unsigned char>(head[1]));
  }

  px::testing::Reply answer;

 private:
  RawClient client_;
};

TEST_F(Console, showsWhatTheGuestPrints) {
  const auto terminal = open(101);
  EXPECT_EQ(json::text_at(terminal, "port"), "5900");
  EXPECT_EQ(json::text_at(terminal, "user"), "root@pam!test");
  Terminal sut{node_, vm(101) + "/vncwebsocket?" + query(terminal)};
  ASSERT_EQ(sut.answer.status, 101);
  EXPECT_THAT(sut.answer.all("Sec-WebSocket-Protocol"), ::testing::ElementsAre("binary"));
  // RFC 6455 section 1.3
  EXPECT_THAT(sut.answer.all("Sec-WebSocket-Accept"),
              ::testing::ElementsAre("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
  sut.send(fmt::format("root@pam!test:{}\n", json::text_at(terminal, "ticket")));
  EXPECT_EQ(sut.receive(), "OK");
  EXPECT_EQ(sut.receive(), "starting serial terminal on interface serial0\r\n");
  EXPECT_EQ(sut.receive(), "hello of 101\r\n");
  sut.send("1:80:25:");
  EXPECT_EQ(sut.receive(), "hello of 101\r\n");
  sut.send("0:1:\r");
  finish(node_.call("POST", vm(101) + "/status/stop"));
  EXPECT_EQ(sut.receive(), "closed");
  EXPECT_EQ(end_of(terminal), "End of file");
}

TEST_F(Console, endsWithItsClient) {
  const auto terminal = open(101);
  {
    Terminal client{node_, vm(101) + "/vncwebsocket?" + query(terminal)};
    client.send(fmt::format("root@pam!test:{}\n", json::text_at(terminal, "ticket")));
    EXPECT_EQ(client.receive(), "OK");
  }
  EXPECT_EQ(end_of(terminal), "OK");
  EXPECT_EQ(json::text_at(open(101), "port"), "5900") << "it is free again";
}

TEST_F(Console, endsWithItsTask) {
  const auto terminal = open(101);
  Terminal client{node_, vm(101) + "/vncwebsocket?" + query(terminal)};
  client.send(fmt::format("root@pam!test:{}\n", json::text_at(terminal, "ticket")));
  EXPECT_EQ(client.receive(), "OK");
  const auto task = "/nodes/proxmox/tasks/" + percent_encode(json::text_at(terminal, "upid"));
  EXPECT_EQ(node_.call("DELETE", task).status, 200);
  while (client.receive() != "closed") {
  }
  EXPECT_EQ(end_of(terminal), "interrupted by signal");
}

TEST_F(Console, isNotForAWrongTicket) {
  const auto terminal = open(101);
  make(102, "serial0=socket");
  const auto good = query(terminal);
  for (const std::string& target :
       {vm(101) + "/vncwebsocket?port=5900&vncticket=PVEVNC%3A00000000%3A%3Axx",
        vm(101) + "/vncwebsocket?port=5901" + good.substr(good.find('&')),
        vm(102) + "/vncwebsocket?" + good}) {
    Terminal client{node_, target};
    EXPECT_EQ(client.answer.status, 401) << target;
    EXPECT_EQ(client.answer.reason, "permission denied - invalid PVEVNC ticket");
  }
  EXPECT_EQ(node_.call("GET", vm(101) + "/vncwebsocket", good).data().at("port"), "5900")
      << "without an upgrade the ticket is only looked at";
  Terminal client{node_, vm(101) + "/vncwebsocket?" + good};
  client.send("root@pam!test:PVEVNC:bad\n");
  EXPECT_EQ(client.receive(), "closed");
  EXPECT_EQ(end_of(terminal), "failed to authenticate the client");
}

TEST_F(Console, saysWhyThereIsNone) {
  make(102, "serial1=socket");
  make(103, "vga=std");
  struct Row {
    int vmid;
    std::string form;
    std::string words;
  };
  for (const auto& [vmid, form, words] :
       {Row{102, "", "VM 102 not running"}, Row{103, "", "unable to find a serial interface"},
        Row{101, "serial=serial1", "serial interface 'serial1' is not configured"}}) {
    const auto terminal = open(vmid, form);
    Terminal client{node_, vm(vmid) + "/vncwebsocket?" + query(terminal)};
    client.send(fmt::format("root@pam!test:{}\n", json::text_at(terminal, "ticket")));
    EXPECT_EQ(client.receive(), "OK");
    EXPECT_EQ(client.receive(), words + "\r\n");
    EXPECT_EQ(client.receive(), "closed");
    EXPECT_EQ(end_of(terminal), words);
  }
}

}  // namespace
}  // namespace px::node
