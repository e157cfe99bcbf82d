// The node's front as a client on the wire sees it (pve-facts section 2).
#include "node_under_test.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <thread>

namespace {

using namespace px;
using namespace std::chrono_literals;
using px::testing::Headers;
using px::testing::NodeUnderTest;
using px::testing::RawClient;
using px::testing::render_request;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Server : public ::testing::Test {
 protected:
  std::string get(const std::string& path) const {
    return render_request("GET", "/api2/json" + path, node_.token(), "");
  }
  NodeUnderTest node_;
};

TEST_F(Server, keepsAConnectionForAHundredRequests) {
  RawClient client{node_.port()};
  for (int i = 1; i <= 100; ++i) {
    client.send(get("/version"));
    const auto reply = client.receive();
    ASSERT_EQ(reply.status, 200);
    ASSERT_THAT(reply.all("Connection"), ElementsAre(i < 100 ? "Keep-Alive" : "close")) << i;
  }
  EXPECT_EQ(client.receive().status, 0);
}

TEST_F(Server, answersPipelinedRequestsInOrder) {
  RawClient client{node_.port()};
  client.send(get("/version") + get("/cluster/nextid") + get("/version"));
  EXPECT_TRUE(client.receive().data().is_object());
  EXPECT_EQ(client.receive().text(), "100");
  EXPECT_TRUE(client.receive().data().is_object());
}

TEST_F(Server, saysCloseAndKeepAliveForProtectedCalls) {
  RawClient client{node_.port()};
  client.send(get("/nodes/proxmox/storage"));
  EXPECT_THAT(client.receive().all("Connection"), ElementsAre("close", "Keep-Alive"));
  client.send(get("/version"));
  EXPECT_EQ(client.receive().status, 200);
}

TEST_F(Server, saysWhatTimeItIs) {
  const auto before = std::time(nullptr);
  const auto date = node_.send("GET", "/api2/json/version", node_.token()).all("Date").at(0);
  std::tm when{};
  ASSERT_NE(::strptime(date.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &when), nullptr) << date;
  EXPECT_GE(::timegm(&when), before);
  EXPECT_LE(::timegm(&when), std::time(nullptr));
}

TEST_F(Server, closesAfterAnyError) {
  RawClient client{node_.port()};
  client.send(get("/nope"));
  EXPECT_THAT(client.receive().all("Connection"), ElementsAre("close"));
  EXPECT_EQ(client.receive().status, 0);
}

TEST_F(Server, closesAfterAnswersToOldClients) {
  RawClient client{node_.port()};
  client.send("GET /api2/json/access/domains HTTP/1.0\r\n\r\n");
  const auto reply = client.receive();
  EXPECT_EQ(reply.version, "HTTP/1.0");
  EXPECT_THAT(reply.all("Connection"), ElementsAre("close"));
  EXPECT_EQ(client.receive().status, 0);
}

TEST_F(Server, takesBodiesOfHalfAMebibyteAndNoMore) {
  auto body = std::string{"poolid=big&comment="};
  body.append(524288 - body.size(), 'x');
  EXPECT_EQ(node_.call("POST", "/pools", body).status, 200);
  const auto reply = node_.call("POST", "/pools", body + "x");
  EXPECT_EQ(reply.status, 501);
  EXPECT_EQ(reply.reason, "for data too large");
}

TEST_F(Server, refusesChunkedBodies) {
  auto headers = node_.token();
  RawClient client{node_.port()};
  client.send(
      fmt::format("POST /api2/json/pools HTTP/1.1\r\n{}: {}\r\nTransfer-Encoding: "
                  "chunked\r\n\r\n8\r\npoolid=a\r\n0\r\n\r\n",
                  headers[0].first, headers[0].second));
  const auto reply = client.receive();
  EXPECT_EQ(reply.status, 501);
  EXPECT_EQ(reply.reason, "chunked transfer encoding not supported");
}

TEST_F(Server, ignoresExpect) {
  auto headers = node_.token();
  headers.emplace_back("Expect", "100-continue");
  headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
  RawClient client{node_.port()};
  const auto request = render_request("POST", "/api2/json/pools", headers, "poolid=expected");
  client.send(request);
  EXPECT_EQ(client.receive().status, 200);
}

TEST_F(Server, holdsRefusedLoginsBack) {
  const auto started = std::chrono::steady_clock::now();
  EXPECT_EQ(node_.send("GET", "/api2/json/version", {}).reason, "No ticket");
  EXPECT_GE(std::chrono::steady_clock::now() - started, 60ms);
}

TEST_F(Server, leavesNoAnswerForHeadersOverTheLimit) {
  auto headers = node_.token();
  headers.emplace_back("X-Big", std::string(8300, 'y'));
  EXPECT_EQ(node_.send("GET", "/api2/json/version", headers).status, 0);
}

TEST_F(Server, refusesAnotherNodesName) {
  const auto reply = node_.call("GET", "/nodes/other/qemu");
  EXPECT_EQ(reply.status, 500);
  EXPECT_THAT(reply.reason, ::testing::StartsWith("hostname lookup 'other' failed"));
}

TEST_F(Server, survivesGarbage) {
  for (const auto* text :
       {"\r\n\r\n", "GET\r\n\r\n", "GET /api2/json/version\r\n\r\n", "\0\0\0\0\r\n\r\n",
        "POST /api2/json/pools HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET /api2/json/nodes/%zz/qemu HTTP/1.1\r\n\r\n"}) {
    RawClient client{node_.port()};
    client.send(text);
    client.receive();
  }
  EXPECT_EQ(node_.call("GET", "/version").status, 200);
}

std::string upload_body(const std::string& content, const std::string& checksum = {}) {
  std::string out = "--BB\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\niso\r\n";
  if (!checksum.empty()) {
    out += "--BB\r\nContent-Disposition: form-data; name=\"checksum-algorithm\"\r\n\r\nsha256\r\n";
    out += "--BB\r\nContent-Disposition: form-data; name=\"checksum\"\r\n\r\n" + checksum + "\r\n";
  }
  return out +
         "--BB\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"a.iso\"\r\n\r\n" +
         content + "\r\n--BB--\r\n";
}

class Upload : public Server {
 protected:
  px::testing::Reply upload(const std::string& body) const {
    auto headers = node_.token();
    headers.emplace_back("Content-Type", "multipart/form-data; boundary=BB");
    return node_.send("POST", "/api2/json/nodes/proxmox/storage/local/upload", headers, body);
  }
};

TEST_F(Upload, storesTheFileByATaskAndOverwrites) {
  for (const auto& content : {std::string(3'000'000, 'x'), std::string{"short"}}) {
    const auto reply = upload(upload_body(content, sha256_hex(content)));
    ASSERT_EQ(reply.status, 200) << reply.body;
    EXPECT_THAT(reply.all("Connection"), ElementsAre("close"));
    EXPECT_EQ(node_.end_of_task(reply.text()), "OK");
    const auto list =
        node_.call("GET", "/nodes/proxmox/storage/local/content", "content=iso").data().as_array();
    ASSERT_EQ(list.size(), 1U);
    EXPECT_EQ(json::number_at(list[0], "size"), content.size());
    EXPECT_EQ(json::text_at(list[0], "volid"), "local:iso/a.iso");
  }
}

TEST_F(Upload, failsTheTaskOfAFileThatIsNotTheOneAnnounced) {
  const auto reply = upload(upload_body("content", std::string(64, '0')));
  EXPECT_THAT(node_.end_of_task(reply.text()), ::testing::StartsWith("checksum mismatch: got '"));
  EXPECT_THAT(node_.call("GET", "/nodes/proxmox/storage/local/content").data().as_array(),
              IsEmpty());
}

TEST_F(Upload, leavesNothingOfOneThatBreaksOff) {
  {
    RawClient client{node_.port()};
    auto headers = node_.token();
    headers.emplace_back("Content-Type", "multipart/form-data; boundary=BB");
    const auto request = render_request("POST", "/api2/json/nodes/proxmox/storage/local/upload",
                                        headers, upload_body(std::string(100'000, 'x')));
    client.send(request.substr(0, 50'000));
  }
  std::this_thread::sleep_for(50ms);
  EXPECT_THAT(node_.call("GET", "/nodes/proxmox/storage/local/content").data().as_array(),
              IsEmpty());
}

class FaultDials : public Server {
 protected:
  void dial(const std::string& form) const {
    const auto reply = node_.send("POST", "/_control/faults",
                                  {{"Content-Type", "application/x-www-form-urlencoded"}}, form);
    ASSERT_EQ(reply.status, 200) << reply.body;
  }
  bool has_pool(const std::string& id) const {
    return node_.call("GET", "/pools/" + id).status == 200;
  }
};

TEST_F(FaultDials, answerInsteadOfActing) {
  dial("action=answer&pattern=POST+/pools&status=500&message=lost");
  EXPECT_EQ(node_.call("POST", "/pools", "poolid=a").reason, "lost");
  EXPECT_FALSE(has_pool("a"));
  EXPECT_EQ(node_.call("POST", "/pools", "poolid=a").status, 200);
}

TEST_F(FaultDials, loseTheRequestOrTheAnswer) {
  dial("action=drop_before&pattern=POST+/pools");
  EXPECT_EQ(node_.call("POST", "/pools", "poolid=before").status, 0);
  EXPECT_FALSE(has_pool("before"));
  dial("action=drop_after&pattern=POST+/pools");
  EXPECT_EQ(node_.call("POST", "/pools", "poolid=after").status, 0);
  EXPECT_TRUE(has_pool("after"));
}

TEST_F(FaultDials, hitTheNthFittingRequest) {
  dial("action=answer&pattern=GET+/version&nth=3&status=596&message=Broken+pipe");
  EXPECT_EQ(node_.call("GET", "/version").status, 200);
  EXPECT_EQ(node_.call("GET", "/cluster/nextid").status, 200);
  EXPECT_EQ(node_.call("GET", "/version").status, 200);
  EXPECT_EQ(node_.call("GET", "/version").status, 596);
  EXPECT_EQ(node_.call("GET", "/version").status, 200);
}

TEST_F(FaultDials, countRequestsByRoute) {
  node_.send("POST", "/_control/reset", {});
  node_.call("GET", "/version");
  node_.call("GET", "/nodes/proxmox/qemu/100/agent/exec-status", "pid=1");
  node_.call("GET", "/nodes/proxmox/tasks/UPID%3Ax/status");
  const auto counted = node_.send("GET", "/_control/requests", {}).data();
  EXPECT_EQ(json::number_at(counted, "total"), 3);
  const auto& routes = counted.at("requests");
  EXPECT_EQ(json::number_at(routes, "GET /version"), 1);
  EXPECT_EQ(json::number_at(routes, "GET /nodes/{node}/qemu/{vmid}/agent/exec-status"), 1);
  EXPECT_EQ(json::number_at(routes, "GET /nodes/{node}/tasks/{upid}/status"), 1);
}

TEST(Stop, endsIdleClientsAndCallsThatRun) {
  std::optional<NodeUnderTest> node{std::in_place};
  RawClient idle{node->port()};
  RawClient half{node->port()};
  half.send("GET /api2/json/version HTTP/1.1\r\n");
  RawClient slow{node->port()};
  node->send("POST", "/_control/faults", {{"Content-Type", "application/x-www-form-urlencoded"}},
             "action=delay&delay_ms=60000&pattern=/storage");
  slow.send(render_request("GET", "/api2/json/nodes/proxmox/storage", node->token(), ""));
  std::this_thread::sleep_for(20ms);
  const auto started = std::chrono::steady_clock::now();
  node.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - started, 5s);
  EXPECT_EQ(idle.receive().status, 0);
  EXPECT_EQ(slow.receive().status, 0);
}

TEST(Control, isNotServedUnlessAsked) {
  auto options = NodeUnderTest::options_for("proxmox");
  options.control = false;
  const NodeUnderTest node{std::move(options)};
  EXPECT_EQ(node.send("GET", "/_control/requests", {}).status, 500);
  EXPECT_EQ(node.call("GET", "/_control/requests").status, 501);
}

}  // namespace
