// A pool of several servers at work: which one a sample goes to, how it waits, and what becomes of
// a server that fails.
#include "environment.hpp"
#include "node_under_test.hpp"
#include "run.hpp"
#include "sandbox/run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

namespace px::sandbox {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

/// A sample of one VM of that size, without networks.
std::string sample_of(int memory_gib, int cores, const std::string& pool = "default") {
  return fmt::format(
      R"({{"instance_pool_id": "{}", "sdn_config": null, "vms_config": [{{"name": "victim",
          "ram_mb": {}, "vcpus": {}, "nics": [], "vm_source_config": {{"built_in":
          "debian13-small"}}}}]}})",
      pool, memory_gib * 1024, cores);
}

node::NodeOptions options_of(const std::string& name, int memory_gib, int cores,
                             std::vector<std::string> other_nodes = {}) {
  auto out = px::testing::NodeUnderTest::options_for(name);
  out.simulation->memory = std::int64_t{memory_gib} << 30;
  out.simulation->cores = cores;
  out.other_nodes = std::move(other_nodes);
  return out;
}

class Pools : public ::testing::Test {
 public:
  Pools() { px::testing::offer_built_in(directory_.path()); }

  void add(const std::string& id, const std::string& node, int port, const std::string& fingerprint,
           const std::string& secret, json::object more = {}) {
    json::object entry{{"instance_id", id},
                       {"host", "127.0.0.1"},
                       {"port", port},
                       {"fingerprint", fingerprint},
                       {"token_id", "root@pam!test"},
                       {"token_secret", secret},
                       {"node", node},
                       {"image_storage", "local"}};
    for (const auto& [key, value] : more) entry[key] = value;
    instances_.push_back(std::move(entry));
  }
  void add(const px::testing::NodeUnderTest& node, const std::string& id, json::object more = {}) {
    auto variables = node.variables();
    add(id, "auto", node.port(), variables["PROXMOX_FINGERPRINT"],
        variables["PROXMOX_TOKEN_SECRET"], std::move(more));
  }

  Environment environment() {
    const auto file = directory_.path() / "instances.json";
    std::ofstream{file} << boost::json::serialize(json::object{{"instances", instances_}});
    return px::testing::environment_of(
        {{"PROXMOX_CONFIG_FILE", file.string()}, {"XDG_STATE_HOME", directory_.path().string()}});
  }

  void with_run(std::function<awaitable<void>(sandbox::Run&)> work) {
    auto body = [](Pools& test,
                   std::function<awaitable<void>(sandbox::Run&)> inner) -> awaitable<void> {
      sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
      co_await inner(run);
      co_await run.sweep(true);
    };
    px::testing::run(body(*this, std::move(work)));
  }

  static std::string node_of(const std::shared_ptr<Sandbox>& sandbox) {
    return sandbox->vms().front()->node();
  }

  px::testing::TemporaryDirectory directory_;
  asio::thread_pool pool_{1};
  json::array instances_;
};

std::string message_of_prepare(Pools& test, const std::string& spec) {
  std::string out;
  test.with_run([&](sandbox::Run& run) -> awaitable<void> {
    try {
      co_await run.prepare(spec);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind, Errc::bad_input);
      out = error.what();
    }
  });
  return out;
}

TEST_F(Pools, giveASampleToTheServerWithMostRoom) {
  px::testing::NodeUnderTest small{options_of("small", 8, 16)};
  px::testing::NodeUnderTest large{options_of("large", 24, 16)};
  add(small, "small");
  add(large, "large");
  with_run([](sandbox::Run& run) -> awaitable<void> {
    const auto spec = sample_of(4, 2);
    co_await run.prepare(spec);
    std::vector<std::string> nodes;
    for (int i = 0; i < 6; ++i) {
      nodes.push_back(node_of(co_await run.bring_up(spec, "task", std::to_string(i))));
    }
    EXPECT_EQ(nodes.front(), "large");
    // 22 GiB take five, 7 GiB one.
    EXPECT_EQ(std::ranges::count(nodes, "large"), 5);
    EXPECT_EQ(std::ranges::count(nodes, "small"), 1);
  });
}

TEST_F(Pools, leaveRoomForSamplesOfOthersThatAreAboutToStart) {
  px::testing::NodeUnderTest large{options_of("large", 24, 16)};
  px::testing::NodeUnderTest small{options_of("small", 16, 16)};
  add(large, "large");
  add(small, "small");
  const auto host_beside = [&](const std::string& tags) {
    large.end_of_task(
        large.call("POST", "/nodes/large/qemu", "vmid=500&memory=16384&tags=" + tags).text());
    std::string out;
    with_run([&](sandbox::Run& run) -> awaitable<void> {
      const auto spec = sample_of(8, 2);
      co_await run.prepare(spec);
      out = node_of(co_await run.bring_up(spec, "task", "1"));
    });
    large.end_of_task(large.call("DELETE", "/nodes/large/qemu/500").text());
    return out;
  };
  EXPECT_EQ(host_beside("inspect"), "small");
  EXPECT_EQ(host_beside("stranger"), "large") << "a stranger's stopped VM holds nothing";
}

TEST_F(Pools, makeSamplesWaitInOrderWhereThereIsNoRoom) {
  px::testing::NodeUnderTest node{options_of("pve", 64, 16)};
  add(node, "pve", {{"max_sandboxes", 1}});
  with_run([](sandbox::Run& run) -> awaitable<void> {
    const auto spec = sample_of(1, 1);
    co_await run.prepare(spec);
    std::vector<std::string> order;
    const auto live = [&](std::string sample) -> awaitable<void> {
      const auto sandbox = co_await run.bring_up(spec, "task", sample);
      EXPECT_EQ(run.use_of("default").samples, 1);
      EXPECT_EQ(run.use_of("default").most, 1);
      order.push_back(sample);
      co_await sandbox->destroy();
    };
    std::vector<awaitable<void>> work;
    for (const auto* sample : {"1", "2", "3", "4"}) work.push_back(live(sample));
    co_await all(std::move(work));
    EXPECT_THAT(order, ElementsAre("1", "2", "3", "4"));
  });
}

TEST_F(Pools, giveTheRoomBackWhenAWaitIsCancelled) {
  px::testing::NodeUnderTest node{options_of("pve", 64, 16)};
  add(node, "pve", {{"max_sandboxes", 1}});
  with_run([](sandbox::Run& run) -> awaitable<void> {
    const auto spec = sample_of(1, 1);
    co_await run.prepare(spec);
    auto place = co_await run.take_place(spec, "task", "1");
    try {
      co_await with_deadline(run.take_place(spec, "task", "2"), Deadline::after(50ms), "wait");
      ADD_FAILURE() << "there was no room";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind, Errc::timeout);
    }
    place.reset();
    place = co_await run.take_place(spec, "task", "3");
    EXPECT_EQ(run.use_of("default").samples, 1);
  });
}

TEST_F(Pools, goOnWithoutAServerThatCantBeReached) {
  px::testing::NodeUnderTest node{options_of("pve", 64, 16)};
  add(node, "pve");
  add("gone", "auto", 1, "", "secret");
  with_run([](sandbox::Run& run) -> awaitable<void> {
    const auto spec = sample_of(1, 1);
    co_await run.prepare(spec);
    EXPECT_EQ(node_of(co_await run.bring_up(spec, "task", "1")), "pve");
  });
}

TEST_F(Pools, tryASampleOnceOnAnotherServer) {
  px::testing::NodeUnderTest ill{options_of("ill", 64, 16)};
  px::testing::NodeUnderTest well{options_of("well", 32, 16)};
  add(ill, "ill");
  add(well, "well");
  with_run([&](sandbox::Run& run) -> awaitable<void> {
    const auto spec = sample_of(1, 1);
    co_await run.prepare(spec);
    const auto armed = ill.send("POST", "/_control/faults",
                                {{"Content-Type", "application/x-www-form-urlencoded"}},
                                "pattern=clone&action=answer&status=500&message=no+space");
    EXPECT_EQ(armed.status, 200) << armed.body;
    EXPECT_EQ(node_of(co_await run.bring_up(spec, "task", "1")), "well");
    EXPECT_EQ(node_of(co_await run.bring_up(spec, "task", "2")), "well")
        << "the other is set aside";
    const auto seen = hosts_set_aside(environment()).at(run.id().text);
    EXPECT_EQ(seen.size(), 1u) << "as others on this machine see it";
    EXPECT_EQ(seen.front().node, "ill");
    EXPECT_THAT(seen.front().why, HasSubstr("no space"));
    EXPECT_GT(seen.front().until, std::chrono::system_clock::now());
  });
}

TEST_F(Pools, chooseTheNodesOfAClusterToo) {
  px::testing::NodeUnderTest cluster{options_of("a", 8, 16, {"b", "c"})};
  add(cluster, "rack");
  with_run([](sandbox::Run& run) -> awaitable<void> {
    const auto spec = sample_of(4, 1);
    co_await run.prepare(spec);
    std::vector<std::string> nodes;
    for (int i = 0; i < 3; ++i) {
      nodes.push_back(node_of(co_await run.bring_up(spec, "task", std::to_string(i))));
    }
    EXPECT_THAT(nodes, UnorderedElementsAre("a", "b", "c"));
  });
}

TEST_F(Pools, cloneOneTemplateOnSharedStorageToAllNodes) {
  px::testing::NodeUnderTest cluster{options_of("a", 8, 16, {"b"})};
  add(cluster, "rack", {{"image_storage", "shared"}});
  with_run([&](sandbox::Run& run) -> awaitable<void> {
    const auto spec = sample_of(4, 1);
    co_await run.prepare(spec);
    std::vector<std::string> nodes;
    for (int i = 0; i < 2; ++i) {
      nodes.push_back(node_of(co_await run.bring_up(spec, "task", std::to_string(i))));
    }
    EXPECT_THAT(nodes, UnorderedElementsAre("a", "b"));
    int templates = 0;
    const auto all = cluster.call("GET", "/cluster/resources", "type=vm").data();
    for (const auto& vm : all.as_array()) templates += json::flag_or(vm, "template", false) ? 1 : 0;
    EXPECT_EQ(templates, 1);
  });
}

/// A number that was free a moment ago is now another node's: the clone's task finds that out.
TEST_F(Pools, takeAnotherNumberWhenAnotherNodeOfTheClusterHasIt) {
  px::testing::NodeUnderTest cluster{options_of("a", 32, 16, {"b"})};
  add("a", "a", cluster.port(), cluster.variables()["PROXMOX_FINGERPRINT"],
      cluster.variables()["PROXMOX_TOKEN_SECRET"]);
  with_run([&](sandbox::Run& run) -> awaitable<void> {
    const auto spec = sample_of(1, 1);
    co_await run.prepare(spec);
    const auto first = (co_await run.bring_up(spec, "task", "1"))->vms().front()->vmid();
    cluster.end_of_task(
        cluster.call("POST", "/nodes/b/qemu", fmt::format("vmid={}", first + 1)).text());
    const auto second = (co_await run.bring_up(spec, "task", "2"))->vms().front()->vmid();
    EXPECT_GT(second, first + 1);
  });
}

TEST_F(Pools, sayAtOnceWhatNoHostCanEverHold) {
  px::testing::NodeUnderTest node{options_of("pve", 8, 4)};
  add(node, "pve");
  EXPECT_THAT(message_of_prepare(*this, sample_of(16, 1)),
              HasSubstr("no host of pool default can ever hold that: pve has 8.0 GiB"));
  EXPECT_THAT(message_of_prepare(*this, sample_of(1, 8)), HasSubstr("pve has 4 cores"));
  EXPECT_THAT(message_of_prepare(*this, sample_of(1, 1, "windows")),
              HasSubstr("the pools in " + (directory_.path() / "instances.json").string() +
                        " are: default"));
}

TEST_F(Pools, tellInspectHowManySmallSamplesFit) {
  px::testing::NodeUnderTest first{options_of("first", 8, 1024)};
  px::testing::NodeUnderTest second{options_of("second", 64, 16)};
  add(first, "first", {{"memory_reserve_mb", 4096}});
  add(second, "second", {{"max_sandboxes", 3}});
  add("gone", "auto", 1, "", "secret");
  with_run([](sandbox::Run& run) -> awaitable<void> { EXPECT_EQ(co_await run.capacity(), 8 + 3); });
}

// --- many samples --------------------------------------------------------------------------------

/// Brings so many samples up side by side, and removes them all.
awaitable<void> live_and_die(sandbox::Run& run, int samples) {
  const auto live = [&](int number) -> awaitable<void> {
    const auto sandbox = co_await run.bring_up(sample_of(1, 1), "task", std::to_string(number));
    co_await sandbox->destroy();
  };
  std::vector<awaitable<void>> work;
  for (int i = 0; i < samples; ++i) work.push_back(live(i));
  co_await all(std::move(work));
}

TEST_F(Pools, costAsManyRequestsForEachOfThirtySamplesAsForEachOfFive) {
  px::testing::NodeUnderTest first{options_of("first", 64, 16)};
  px::testing::NodeUnderTest second{options_of("second", 64, 16)};
  add(first, "first");
  add(second, "second");
  with_run([&](sandbox::Run& run) -> awaitable<void> {
    co_await run.prepare(sample_of(1, 1));
    const auto count = [&] {
      return first.requests_without_polls() + second.requests_without_polls();
    };
    const auto before = count();
    co_await live_and_die(run, 5);
    const auto of_five = count() - before;
    co_await live_and_die(run, 30);
    EXPECT_LE(count() - before - of_five, 6 * of_five);
  });
}

TEST_F(Pools, haveAHostRemoveSixteenVmsAtOnceAtMost) {
  auto options = options_of("pve", 64, 16);
  options.simulation->task_pace.time = 50ms;
  px::testing::NodeUnderTest node{std::move(options)};
  add(node, "pve");
  std::size_t most = 0;
  with_run([&](sandbox::Run& run) -> awaitable<void> {
    co_await run.prepare(sample_of(1, 1));
    std::vector<std::shared_ptr<Sandbox>> sandboxes;
    const auto start = [&](int number) -> awaitable<void> {
      sandboxes.push_back(co_await run.bring_up(sample_of(1, 1), "task", std::to_string(number)));
    };
    std::vector<awaitable<void>> work;
    for (int i = 0; i < 24; ++i) work.push_back(start(i));
    co_await all(std::exchange(work, {}));
    for (const auto& sandbox : sandboxes) work.push_back(sandbox->destroy());
    const auto look = [&]() -> awaitable<void> {
      for (;;) {
        const auto tasks = node.call("GET", "/nodes/pve/tasks", "source=active&limit=100").data();
        most = std::max(most, tasks.as_array().size());
        co_await sleep_for(10ms);
      }
    };
    co_await with_company(all(std::move(work)), look());
  });
  EXPECT_GT(most, 1U) << "side by side; how many are seen depends on the machine";
  EXPECT_LE(most, 16U);
}

}  // namespace
}  // namespace px::sandbox
