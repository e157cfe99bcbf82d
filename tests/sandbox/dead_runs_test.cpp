// What a run does about those of its machine and user that died, and that a number's next VM is
// nobody else's to delete.
#include "sandbox/belongings.hpp"
#include "sandbox/cleanup.hpp"
#include "sandbox/removal.hpp"
#include "sandbox/vm_on_node.hpp"

#include <fstream>

namespace px::sandbox {
namespace {

using namespace std::chrono_literals;

const std::string small_spec =
    R"({"vms_config": [{"vm_source_config": {"built_in": "debian13-small"}}]})";

class DeadRuns : public VmOnNode {
 public:
  Environment home(std::map<std::string, std::string> more = {}) {
    auto variables = node_.variables();
    variables["XDG_STATE_HOME"] = home_.path().string();
    variables.merge(more);
    return px::testing::environment_of(variables);
  }

  /// A run that ends with a VM, as a process does that is killed.
  awaitable<void> die(bool keeping = false) {
    sandbox::Run run{co_await asio::this_coro::executor, pool_, home()};
    co_await run.prepare(small_spec);
    co_await run.bring_up(small_spec, "task", "1");
    if (keeping) co_await run.sweep(false);
  }
  awaitable<void> start(Environment environment) {
    sandbox::Run run{co_await asio::this_coro::executor, pool_, std::move(environment)};
    co_await run.prepare(small_spec);
    co_await run.sweep(true);
  }
  /// VMs of ours that are no templates.
  awaitable<Belongings> found() {
    pve::Client client{co_await asio::this_coro::executor, pool_, read_instances(home()).front()};
    auto out = co_await find_belongings(client, {pve::NodeName::parse("proxmox")});
    co_await client.close();
    co_return out;
  }

  px::testing::TemporaryDirectory home_;
};

TEST_F(DeadRuns, areCleanedUpAfterByTheNextOne) {
  finish(node_.call("POST", "/nodes/proxmox/qemu", "vmid=900&name=decoy"));
  auto work = [](DeadRuns& test) -> awaitable<void> {
    co_await test.die();
    EXPECT_EQ((co_await test.found()).vms.size(), 1U);
    co_await test.start(test.home());
    const auto left = co_await test.found();
    EXPECT_TRUE(left.vms.empty());
    EXPECT_TRUE(left.networks.empty());
    EXPECT_TRUE(dead_runs(test.home()).empty()) << "nothing of it is left anywhere";
  };
  px::testing::run(work(*this));
  EXPECT_EQ(json::text_or(config(900), "name"), "decoy");
}

TEST_F(DeadRuns, stayWhereTheUserSaysSo) {
  auto work = [](DeadRuns& test) -> awaitable<void> {
    co_await test.die();
    co_await test.start(test.home({{"PROXMOX_SANDBOX_KEEP_DEAD", "1"}}));
    EXPECT_EQ((co_await test.found()).vms.size(), 1U);
    EXPECT_EQ(dead_runs(test.home()).size(), 1U);
  };
  px::testing::run(work(*this));
}

TEST_F(DeadRuns, areNotThoseThatKeptTheirVmsOnPurpose) {
  auto work = [](DeadRuns& test) -> awaitable<void> {
    co_await test.die(true);
    co_await test.start(test.home());
    const auto left = co_await test.found();
    EXPECT_EQ(left.vms.size(), 1U);
    EXPECT_EQ(life_of(left.vms.at(0).run, test.home()).life, Life::kept);
  };
  px::testing::run(work(*this));
}

TEST_F(DeadRuns, templatesHalfMadeAreLeftToThoseWhoNeedThem) {
  const auto runs = home_.path() / "proxmox-sandbox/runs";
  std::filesystem::create_directories(runs);
  std::ofstream{runs / "0badc0de"};  // nobody holds its lock
  finish(node_.call("POST", "/nodes/proxmox/qemu",
                    "vmid=900&tags=inspect&description=inspect-run%3A+0badc0de%0A"
                    "inspect-making%3A+0123456789abcdef+3%0A"));
  auto work = [](DeadRuns& test) -> awaitable<void> {
    co_await test.start(test.home());
    EXPECT_EQ((co_await test.found()).vms.size(), 1U);
    EXPECT_EQ(dead_runs(test.home()).size(), 1U) << "who needs it must know that its maker died";
  };
  px::testing::run(work(*this));
}

TEST_F(DeadRuns, costTheNextOneNothingWhenThereAreNone) {
  auto work = [](DeadRuns& test) -> awaitable<void> {
    co_await test.start(test.home());
    test.node_.send("POST", "/_control/reset", {});
    std::vector<std::shared_ptr<Server>> servers;
    servers.push_back(std::make_shared<Server>(co_await asio::this_coro::executor, test.pool_,
                                               read_instances(test.home()).front(), RunId::make(),
                                               test.home()));
    co_await clean_up_after_the_dead(servers, test.home());
    EXPECT_EQ(test.node_.requests_without_polls(), 0);
  };
  px::testing::run(work(*this));
}

TEST_F(DeadRuns, vmIsWhatItsMarkSays) {
  auto work = [](DeadRuns& test) -> awaitable<void> {
    co_await test.die();
    const auto own = (co_await test.found()).vms.at(0);
    EXPECT_EQ(own.task, "task");
    EXPECT_EQ(own.sample, "1");
    EXPECT_EQ(own.status, "running");
    EXPECT_EQ(own.memory, 2048LL << 20);
    EXPECT_EQ(own.owner, Mark::this_process());
    EXPECT_LT(Mark::now() - own.since.value_or(std::chrono::sys_seconds{}), 60s);
  };
  px::testing::run(work(*this));
}

/// The number of a VM that is gone is the next one's: deleted by hand, made anew by another run.
TEST_F(DeadRuns, areNotMixedUpWithTheNextVmOfANumber) {
  auto work = [](DeadRuns& test) -> awaitable<void> {
    co_await test.die();
    auto choice = choose(
        co_await test.found(), {}, {.everything = true},
        [](const std::string&) { return RunLife{}; }, Mark::now());
    const auto number = choice.vms.at(0).what.vm.vmid;
    const auto path = fmt::format("/nodes/proxmox/qemu/{}", number);
    test.finish(test.node_.call("POST", path + "/status/stop"));
    test.finish(test.node_.call("DELETE", path));
    test.finish(test.node_.call("POST", "/nodes/proxmox/qemu",
                                fmt::format("vmid={}&name=next&tags=inspect", number)));
    pve::Client client{co_await asio::this_coro::executor, test.pool_,
                       read_instances(test.home()).front()};
    const auto report = co_await clean_up(client, std::move(choice));
    co_await client.close();
    EXPECT_TRUE(report.left.empty());
    EXPECT_EQ(json::text_or(test.config(number.number()), "name"), "next");
  };
  px::testing::run(work(*this));
}

}  // namespace
}  // namespace px::sandbox
