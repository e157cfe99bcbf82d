// Whether a run lives is known on its own machine, however its process ended.
#include "sandbox/life_sign.hpp"

#include "environment.hpp"
#include "node_under_test.hpp"
#include "run.hpp"
#include "sandbox/run.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <sys/wait.h>
#include <unistd.h>

namespace px::sandbox {
namespace {

class LifeSigns : public ::testing::Test {
 public:
  Environment environment() const {
    return px::testing::environment_of({{"XDG_STATE_HOME", directory_.path().string()}});
  }
  Life life() const { return life_of(run_.text, environment()).life; }

  px::testing::TemporaryDirectory directory_;
  RunId run_ = RunId::make();
};

TEST_F(LifeSigns, areSeenWhileTheRunHasSomethingOnAServer) {
  EXPECT_EQ(life(), Life::unknown);
  LifeSign sign{run_, environment()};
  EXPECT_EQ(life(), Life::alive);
  EXPECT_EQ(life(), Life::alive) << "looking does not end it";
  EXPECT_LT(life_of(run_.text, environment()).age->count(), 60);
  sign.clear();
  EXPECT_EQ(life(), Life::unknown);
}

TEST_F(LifeSigns, tellOfARunThatEndedAndLeftSomething) {
  {
    const LifeSign sign{run_, environment()};
  }
  EXPECT_EQ(life(), Life::dead);
  forget_ended(RunId::make().text, environment());
  EXPECT_EQ(life(), Life::dead) << "that was another";
  forget_ended("", environment());
  EXPECT_EQ(life(), Life::unknown);
}

TEST_F(LifeSigns, tellWhichHostsALivingRunHasSetAside) {
  using namespace std::chrono_literals;
  const SetAside host{"rack1", "pve7", "unreachable", std::chrono::sys_seconds{1'800'000'000s}};
  {
    LifeSign sign{run_, environment()};
    EXPECT_TRUE(hosts_set_aside(environment()).empty());
    sign.tell({host, host});
    sign.tell({host});
    EXPECT_EQ(hosts_set_aside(environment()).at(run_.text), std::vector{host});
    EXPECT_EQ(life(), Life::alive);
  }
  EXPECT_TRUE(hosts_set_aside(environment()).empty());
  EXPECT_EQ(life(), Life::dead) << "it told of a host, and kept nothing";
}

TEST_F(LifeSigns, tellOfARunThatLeftThingsOnPurpose) {
  {
    LifeSign sign{run_, environment()};
    sign.keep();
    EXPECT_EQ(life(), Life::alive);
  }
  EXPECT_EQ(life(), Life::kept);
  EXPECT_TRUE(dead_runs(environment()).empty());
  forget_ended(run_.text, environment());
  EXPECT_EQ(life(), Life::unknown);
}

TEST_F(LifeSigns, nameTheDead) {
  const LifeSign alive{RunId::make(), environment()};
  {
    const LifeSign sign{run_, environment()};
  }
  EXPECT_EQ(dead_runs(environment()), std::vector{run_.text});
}

TEST_F(LifeSigns, outliveNoProcessThatIsKilled) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const LifeSign sign{run_, environment()};
    [[maybe_unused]] const auto written = ::write(ready[1], "x", 1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(life(), Life::alive);
  forget_ended("", environment());
  EXPECT_EQ(life(), Life::alive);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(life(), Life::dead);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(LifeSigns, areNoneWhereNoDirectoryIsNamed) {
  const auto nothing = px::testing::environment_of({});
  const LifeSign sign{run_, nothing};
  EXPECT_EQ(life_of(run_.text, nothing).life, Life::unknown);
  EXPECT_EQ(life_of("../etc", environment()).life, Life::unknown);
}

TEST_F(LifeSigns, goWithTheRunsLastTaskThatLeavesNothing) {
  px::testing::NodeUnderTest node;
  const auto end = [&](const px::testing::Reply& reply) { node.end_of_task(reply.text()); };
  end(node.call("POST", "/nodes/proxmox/qemu", "vmid=100&tags=box&agent=1"));
  end(node.call("POST", "/nodes/proxmox/qemu/100/template"));
  auto variables = node.variables();
  variables["XDG_STATE_HOME"] = directory_.path().string();
  asio::thread_pool pool{1};
  auto work = [](asio::thread_pool& threads, Environment environment) -> awaitable<void> {
    const std::string spec =
        R"({"vms_config": [{"vm_source_config": {"existing_vm_template_tag": "box"}}]})";
    sandbox::Run run{co_await asio::this_coro::executor, threads, environment};
    const auto life = [&] { return life_of(run.id().text, environment).life; };
    EXPECT_EQ(life(), Life::unknown);
    co_await run.prepare(spec);
    co_await run.prepare(spec);
    EXPECT_EQ(life(), Life::alive);
    co_await run.sweep(true);
    EXPECT_EQ(life(), Life::alive) << "of another task";
    co_await run.sweep(true);
    EXPECT_EQ(life(), Life::unknown);
  };
  px::testing::run(work(pool, px::testing::environment_of(variables)));
}

}  // namespace
}  // namespace px::sandbox
