// Several simulated nodes of a size of their own behind one, as a client on the wire sees them.
#include "node_under_test.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using namespace px;
using px::testing::NodeUnderTest;
using px::testing::Reply;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::int64_t gib = std::int64_t{1} << 30;

node::NodeOptions nodes_of_8_gib(std::vector<std::string> others = {}) {
  auto options = NodeUnderTest::options_for("a");
  options.simulation->memory = 8 * gib;
  options.simulation->cores = 4;
  options.other_nodes = std::move(others);
  return options;
}

/// The entry of a list whose `id` is this.
json::value entry(const NodeUnderTest& node, const std::string& list, const std::string& id,
                  const std::string& query = {}) {
  const auto all = node.call("GET", list, query).data();
  for (const auto& item : all.as_array()) {
    if (json::text_or(item, "id") == id) return item;
  }
  return nullptr;
}

std::string create(const NodeUnderTest& node, const std::string& where, int vmid,
                   const std::string& more = {}) {
  const auto reply = node.call("POST", "/nodes/" + where + "/qemu",
                               fmt::format("vmid={}&memory=2048&{}", vmid, more));
  return reply.status == 200 ? node.end_of_task(reply.text()) : reply.reason;
}

std::string start(const NodeUnderTest& node, const std::string& where, int vmid) {
  return node.end_of_task(
      node.call("POST", fmt::format("/nodes/{}/qemu/{}/status/start", where, vmid)).text());
}

std::string clone(const NodeUnderTest& node, const std::string& where, int vmid,
                  const std::string& form) {
  const auto reply = node.call("POST", fmt::format("/nodes/{}/qemu/{}/clone", where, vmid), form);
  return reply.status == 200 ? node.end_of_task(reply.text()) : reply.reason;
}

std::vector<std::string> texts(const json::value& list, std::string_view key) {
  std::vector<std::string> out;
  for (const auto& item : list.as_array()) out.push_back(json::text_or(item, key));
  return out;
}

TEST(SimulatedNode, tellsItsSizeAndWhatRunsOnItWhereverItIsAsked) {
  const NodeUnderTest node{nodes_of_8_gib()};
  EXPECT_EQ(create(node, "a", 100, "cores=2&tags=one"), "OK");
  EXPECT_EQ(create(node, "a", 101), "OK");
  EXPECT_EQ(start(node, "a", 100), "OK");
  for (const auto* list : {"/nodes", "/cluster/resources"}) {
    const auto one = entry(node, list, "node/a");
    EXPECT_EQ(json::text_at(one, "status"), "online") << list;
    EXPECT_EQ(json::number_at(one, "maxmem"), 8 * gib) << list;
    EXPECT_EQ(json::number_at(one, "mem"), 3 * gib) << list << ": 1 GiB of its own";
    EXPECT_EQ(json::number_at(one, "maxcpu"), 4) << list;
    EXPECT_GT(json::number_at(one, "uptime"), 0) << list;
  }
  const auto status = node.call("GET", "/nodes/a/status").data();
  EXPECT_EQ(json::number_at(status.at("memory"), "total"), 8 * gib);
  EXPECT_EQ(json::number_at(status.at("memory"), "used"), 3 * gib);
  EXPECT_EQ(json::number_at(status.at("memory"), "free"), 5 * gib);
  EXPECT_EQ(json::number_at(status.at("cpuinfo"), "cpus"), 4);
  const auto vm = entry(node, "/cluster/resources", "qemu/100", "type=vm");
  EXPECT_EQ(json::text_at(vm, "status"), "running");
  EXPECT_EQ(json::text_at(vm, "node"), "a");
  EXPECT_EQ(json::text_at(vm, "tags"), "one");
  EXPECT_EQ(json::number_at(vm, "maxcpu"), 2);
  EXPECT_EQ(json::number_at(vm, "maxmem"), 2 * gib);
  EXPECT_EQ(json::number_at(vm, "mem"), 2 * gib);
  EXPECT_EQ(json::number_at(entry(node, "/cluster/resources", "qemu/101"), "mem"), 0);
}

TEST(SimulatedNode, hasRoomForAThousandVmsUnlessToldOtherwise) {
  const NodeUnderTest node;
  const auto one = entry(node, "/nodes", "node/proxmox");
  EXPECT_EQ(json::number_at(one, "maxmem"), 4096 * gib);
  EXPECT_EQ(json::number_at(one, "maxcpu"), 1024);
}

TEST(SimulatedNode, refusesToStartAVmOfMoreCoresThanItHas) {
  const NodeUnderTest node{nodes_of_8_gib()};
  EXPECT_EQ(create(node, "a", 100, "cores=4"), "OK");
  EXPECT_EQ(start(node, "a", 100), "OK");
  EXPECT_EQ(create(node, "a", 101, "cores=3&sockets=2"), "OK");
  EXPECT_EQ(start(node, "a", 101), "MAX 4 vcpus allowed per VM on this node");
}

TEST(SimulatedNode, isOneOfSeveralOnlyUnderAnotherName) {
  EXPECT_THROW(NodeUnderTest{nodes_of_8_gib({"b", "a"})}, Error);
}

TEST(SimulatedCluster, listsItsNodesEachWithItsOwnVms) {
  const NodeUnderTest node{nodes_of_8_gib({"b", "c"})};
  EXPECT_EQ(create(node, "a", 100), "OK");
  EXPECT_EQ(create(node, "b", 101), "OK");
  EXPECT_EQ(start(node, "b", 101), "OK");
  EXPECT_THAT(texts(node.call("GET", "/nodes").data(), "node"), ElementsAre("a", "b", "c"));
  EXPECT_EQ(json::number_at(entry(node, "/nodes", "node/a"), "mem"), 1 * gib);
  EXPECT_EQ(json::number_at(entry(node, "/nodes", "node/b"), "mem"), 3 * gib);
  EXPECT_THAT(texts(node.call("GET", "/nodes/a/qemu").data(), "vmid"), ElementsAre("100"));
  EXPECT_THAT(texts(node.call("GET", "/nodes/b/qemu").data(), "vmid"), ElementsAre("101"));
  EXPECT_EQ(node.call("GET", "/nodes/c/qemu").data(), json::array{});
  EXPECT_EQ(json::text_at(entry(node, "/cluster/resources", "qemu/101"), "node"), "b");
  EXPECT_EQ(node.call("GET", "/nodes/localhost/qemu/100/config").status, 200);

  const auto status = node.call("GET", "/cluster/status").data();
  EXPECT_THAT(texts(status, "type"), ElementsAre("cluster", "node", "node", "node"));
  EXPECT_EQ(json::number_at(status.at(0), "nodes"), 3);
  EXPECT_EQ(json::number_at(status.at(1), "local"), 1);
  EXPECT_EQ(json::number_at(status.at(2), "local"), 0);
}

TEST(SimulatedCluster, answersForTheWrongNodeAsTheRealServerDoes) {
  const NodeUnderTest node{nodes_of_8_gib({"b"})};
  EXPECT_EQ(create(node, "a", 100), "OK");
  EXPECT_EQ(node.call("GET", "/nodes/b/qemu/100/config").reason,
            "Configuration file 'nodes/b/qemu-server/100.conf' does not exist");
  EXPECT_THAT(node.call("GET", "/nodes/nope/qemu").reason,
              HasSubstr("hostname lookup 'nope' failed"));
}

TEST(SimulatedCluster, givesAnIdOnce) {
  const NodeUnderTest node{nodes_of_8_gib({"b"})};
  EXPECT_EQ(create(node, "a", 100), "OK");
  EXPECT_EQ(create(node, "b", 101), "OK");
  EXPECT_EQ(node.call("GET", "/cluster/nextid").text(), "102");
  EXPECT_EQ(create(node, "b", 100), "unable to create VM 100 - VM 100 already exists on node 'a'");
  EXPECT_EQ(node.call("GET", "/cluster/nextid", "vmid=101").status, 400);
  EXPECT_EQ(clone(node, "a", 100, "newid=101"),
            "close (rename) atomic file '/etc/pve/nodes/a/qemu-server/101.conf' failed: "
            "File exists");
  EXPECT_EQ(node.end_of_task(node.call("DELETE", "/nodes/a/qemu/100").text()), "OK");
  EXPECT_EQ(node.call("GET", "/cluster/nextid").text(), "100");
}

TEST(SimulatedCluster, keepsTheTasksOfEachNodeUnderItsName) {
  const NodeUnderTest node{nodes_of_8_gib({"b"})};
  EXPECT_EQ(create(node, "a", 100), "OK");
  const auto upid = node.call("POST", "/nodes/b/qemu", "vmid=101").text();
  EXPECT_THAT(upid, StartsWith("UPID:b:"));
  EXPECT_EQ(node.end_of_task(upid), "OK");
  const auto path = "/tasks/" + percent_encode(upid) + "/status";
  EXPECT_EQ(node.call("GET", "/nodes/b" + path).status, 200);
  EXPECT_EQ(node.call("GET", "/nodes/a" + path).status, 400);
  EXPECT_THAT(texts(node.call("GET", "/nodes/b/tasks").data(), "upid"), ElementsAre(upid));
  EXPECT_THAT(texts(node.call("GET", "/cluster/tasks").data(), "node"),
              ::testing::UnorderedElementsAre("a", "b"));
}

TEST(SimulatedCluster, clonesToAnotherNodeWhatAllNodesSee) {
  const NodeUnderTest node{nodes_of_8_gib({"b"})};
  EXPECT_EQ(create(node, "a", 100, "scsi0=shared:1&template=1"), "OK");
  EXPECT_EQ(create(node, "a", 101, "scsi0=local:1&template=1"), "OK");

  EXPECT_EQ(clone(node, "a", 100, "newid=102&target=b&name=over-there"), "OK");
  EXPECT_EQ(node.call("GET", "/nodes/a/qemu/102/config").status, 500);
  const auto config = node.call("GET", "/nodes/b/qemu/102/config").data();
  EXPECT_EQ(json::text_at(config, "name"), "over-there");
  EXPECT_THAT(json::text_at(config, "scsi0"), StartsWith("shared:100/base-100-disk-0."));
  EXPECT_EQ(start(node, "b", 102), "OK");
  EXPECT_EQ(json::text_at(entry(node, "/cluster/resources", "qemu/102"), "node"), "b");
  EXPECT_EQ(node.end_of_task(node.call("DELETE", "/nodes/a/qemu/100").text()),
            "base volume 'shared:100/base-100-disk-0.raw' is still in use by linked cloned");

  EXPECT_EQ(clone(node, "a", 101, "newid=103&target=b"),
            "can't clone VM to node 'b' (VM uses local storage)");
  EXPECT_EQ(clone(node, "a", 100, "newid=103&target=b&full=1&storage=local"),
            "can't clone to non-shared storage 'local'");
  EXPECT_EQ(clone(node, "a", 100, "newid=103&target=c"), "no such cluster node 'c'");
  EXPECT_EQ(clone(node, "a", 101, "newid=103&target=a"), "OK");
}

TEST(SimulatedCluster, hasLocalStoragesOfEachNodeAndOneThatAllSee) {
  const NodeUnderTest node{nodes_of_8_gib({"b"})};
  EXPECT_EQ(create(node, "a", 100, "scsi0=local:1&scsi1=shared:1"), "OK");
  const auto images = [&](const std::string& path) {
    return texts(node.call("GET", path + "/content", "content=images").data(), "volid");
  };
  EXPECT_THAT(images("/nodes/a/storage/local"), ElementsAre("local:100/vm-100-disk-0.raw"));
  EXPECT_EQ(images("/nodes/b/storage/local").size(), 0U);
  EXPECT_THAT(images("/nodes/b/storage/shared"), ElementsAre("shared:100/vm-100-disk-0.raw"));
  const auto of_b = node.call("GET", "/nodes/b/storage").data();
  for (const auto& storage : of_b.as_array()) {
    const bool is_shared = json::text_at(storage, "storage") == "shared";
    EXPECT_EQ(json::number_at(storage, "shared"), is_shared ? 1 : 0);
  }
  EXPECT_EQ(json::number_at(node.call("GET", "/storage/shared").data(), "shared"), 1);
  EXPECT_EQ(json::number_at(entry(node, "/cluster/resources", "storage/b/shared"), "shared"), 1);
  const NodeUnderTest alone;
  EXPECT_EQ(alone.call("GET", "/nodes/proxmox/storage/shared/content").status, 500);
}

TEST(SimulatedCluster, missesANodeThatIsOffline) {
  const NodeUnderTest node{nodes_of_8_gib({"b"})};
  EXPECT_EQ(create(node, "b", 100), "OK");
  const auto put = [&](const std::string& name, bool online) {
    return node
        .send("POST", "/_control/nodes", {{"Content-Type", "application/x-www-form-urlencoded"}},
              fmt::format("node={}&online={}", name, online ? 1 : 0))
        .status;
  };
  EXPECT_EQ(put("b", false), 200);
  const auto gone = entry(node, "/nodes", "node/b");
  EXPECT_EQ(json::text_at(gone, "status"), "offline");
  EXPECT_EQ(json::find(gone, "mem"), nullptr);
  EXPECT_EQ(json::text_at(entry(node, "/cluster/resources", "qemu/100"), "status"), "unknown");
  const auto reply = node.call("GET", "/nodes/b/qemu/100/status/current");
  EXPECT_EQ(reply.status, 595);
  EXPECT_EQ(reply.reason, "No route to host");
  EXPECT_EQ(node.call("GET", "/nodes/a/qemu").status, 200);

  EXPECT_EQ(put("b", true), 200);
  EXPECT_EQ(node.call("GET", "/nodes/b/qemu/100/status/current").status, 200);
  EXPECT_EQ(put("a", false), 400) << "somebody has to answer";
  EXPECT_EQ(put("c", false), 500);
}

TEST(SimulatedCluster, hasThreeWorkersOnEachNode) {
  auto options = nodes_of_8_gib({"b"});
  options.simulation->boot_time = options.simulation->agent_limits.ping = std::chrono::hours{1};
  const NodeUnderTest node{options};
  EXPECT_EQ(create(node, "a", 100), "OK");
  EXPECT_EQ(create(node, "b", 101, "agent=1"), "OK");
  EXPECT_EQ(start(node, "b", 101), "OK");
  std::vector<std::unique_ptr<px::testing::RawClient>> waiting;
  for (int i = 0; i < 3; ++i) {
    waiting.push_back(std::make_unique<px::testing::RawClient>(node.port()));
    waiting.back()->send(px::testing::render_request(
        "POST", "/api2/json/nodes/b/qemu/101/agent/ping", node.token(), ""));
  }
  EXPECT_EQ(node.call("GET", "/nodes/a/qemu/100/status/current").status, 200)
      << "596 when it had to wait for those of node b";
}

TEST(SimulatedCluster, isThereAgainAfterARestart) {
  const px::testing::TemporaryDirectory directory;
  auto options = nodes_of_8_gib({"b"});
  options.directory = directory.path() / "node";
  std::string upid;
  {
    const NodeUnderTest node{options};
    upid = node.call("POST", "/nodes/b/qemu", "vmid=101&name=kept").text();
    EXPECT_EQ(node.end_of_task(upid), "OK");
  }
  const NodeUnderTest node{options};
  EXPECT_EQ(json::text_at(node.call("GET", "/nodes/b/qemu/101/config").data(), "name"), "kept");
  EXPECT_EQ(node.end_of_task(upid), "OK");
  EXPECT_EQ(create(node, "a", 101), "unable to create VM 101 - VM 101 already exists on node 'b'");
}

}  // namespace
