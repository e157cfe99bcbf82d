// A VM that dies under its commands: who waits is told of what, and nobody else is.
#include "environment.hpp"
#include "node_under_test.hpp"
#include "run.hpp"
#include "sandbox/run.hpp"
#include "sanitized.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>

namespace px::sandbox {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Within which a dead VM is told of, by the patience with a guest and the machine's speed.
constexpr auto told_within = px::testing::is_sanitized ? 20s : 10s;

/// Plays our scripts of src/guest/linux for commands that say themselves how they end, and the dead
/// on demand.
class MortalGuest : public node::SimulatedGuest {
 public:
  std::atomic<bool> silent = false;
  std::atomic<double> pressure = 0;

  void halt(std::string run_state) {
    const std::lock_guard lock{mutex_};
    run_state_ = std::move(run_state);
    silent = true;
  }

  node::ExecAnswer run(node::SimulatedState& /*state*/, const std::vector<std::string>& /*argv*/,
                       const std::string& input) override {
    const auto says = [&](std::string_view text) { return input.find(text) != std::string::npos; };
    if (says("'sleep'")) return {0, "x 0 boot \n", "", 1h};
    if (says("'no-such-program'")) return {0, "n 127 boot \n", "", 0ms};
    if (says("'no-permission'")) return {0, "p 126 boot \n", "", 0ms};
    const auto exit = input.find("'exit' '");
    if (exit == std::string::npos) return {0, "x 0 boot \n", "", 0ms};
    return {0, fmt::format("x {} boot \n", std::atoi(input.c_str() + exit + 8)), "failed\n", 0ms};
  }
  bool answers(int /*vmid*/) override { return !silent; }
  std::string run_state(int /*vmid*/) override {
    const std::lock_guard lock{mutex_};
    return run_state_;
  }
  double cpu_pressure(int /*vmid*/) override { return pressure; }
  std::string console(int /*vmid*/) override {
    return silent ? "\x1B[31m[ 9.1] Out of memory: Killed process 1 (init)\r\n" : "";
  }

 private:
  std::mutex mutex_;  // the test's thread and the node's
  std::string run_state_;
};

guest::ExecRequest command(std::vector<std::string> argv) {
  guest::ExecRequest out;
  out.command.argv = std::move(argv);
  return out;
}

class DyingVm : public ::testing::Test {
 protected:
  DyingVm() {
    px::testing::offer_built_in(images_.path());
    auto options = px::testing::NodeUnderTest::options_for("proxmox");
    options.simulation->guest = guest_;
    node_.emplace(std::move(options));
  }

  void call(const std::string& method, const std::string& rest) {
    const auto reply = node_->call(method, "/nodes/proxmox/qemu/100" + rest);
    ASSERT_EQ(reply.status, 200) << reply.body;
    node_->end_of_task(reply.text());
  }

  using Vms = std::vector<std::shared_ptr<Vm>>;

  /// VMs 100, 101... live while `use` runs.
  void with_vms(int count, std::function<awaitable<void>(const Vms&)> use) {
    std::vector<std::string> vms;
    for (int i = 0; i < count; ++i) {
      vms.push_back(fmt::format(
          R"({{"vm_source_config": {{"existing_vm_template_tag": "victim"}}, "name": "victim{}",
             "nics": []}})",
          i));
    }
    auto work = [](DyingVm& test, std::string spec,
                   std::function<awaitable<void>(const Vms&)> inner) -> awaitable<void> {
      sandbox::Run run{co_await asio::this_coro::executor, test.pool_,
                       px::testing::environment_of(test.node_->variables())};
      const auto sandbox = co_await run.bring_up(spec, "task", "sample");
      co_await inner(sandbox->vms());
    };
    node_->end_of_task(
        node_->call("POST", "/nodes/proxmox/qemu", "vmid=900&tags=victim&agent=1" + hardware_)
            .text());
    node_->end_of_task(node_->call("POST", "/nodes/proxmox/qemu/900/template").text());
    px::testing::run(work(
        *this, fmt::format(R"({{"sdn_config": null, "vms_config": [{}]}})", fmt::join(vms, ", ")),
        std::move(use)));
  }
  void with_vm(std::function<awaitable<void>(Vm&)> use) {
    with_vms(1, [&](const Vms& vms) { return use(*vms.front()); });
  }

  /// What a command is told that waits while the VM dies. Fails when that took too long.
  std::string told(std::function<void()> death) {
    std::string out = "nothing";
    std::chrono::steady_clock::time_point died;
    auto use = [&](Vm& vm) -> awaitable<void> {
      auto wait = [](Vm& on) -> awaitable<void> { co_await on.exec(command({"sleep", "3600"})); };
      auto die = [&]() -> awaitable<void> {
        co_await sleep_for(500ms);
        death();
        died = std::chrono::steady_clock::now();
      };
      try {
        co_await with_company(wait(vm), die());
      } catch (const Error& error) {
        out = error.what();
        EXPECT_EQ(error.kind, Errc::unavailable) << out;
      }
      EXPECT_LT(std::chrono::steady_clock::now() - died, told_within);
    };
    with_vm(use);
    return out;
  }

  /// A command waits on each of `vms` while the guest dies. Fails where one is not told `why`, or
  /// too late.
  awaitable<void> all_are_told(Vms vms, std::function<void()> death, std::string why) {
    std::size_t told = 0;
    std::chrono::steady_clock::time_point died;
    auto wait = [&](Vm& vm) -> awaitable<void> {
      try {
        co_await vm.exec(command({"sleep", "3600"}));
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr(why));
        ++told;
      }
    };
    auto die = [&]() -> awaitable<void> {
      co_await sleep_for(2s);
      death();
      died = std::chrono::steady_clock::now();
    };
    std::vector<awaitable<void>> all_of_them;
    for (const auto& vm : vms) all_of_them.push_back(wait(*vm));
    all_of_them.push_back(die());
    co_await all(std::move(all_of_them));
    EXPECT_EQ(told, vms.size());
    EXPECT_LT(std::chrono::steady_clock::now() - died, told_within);
  }

  /// What `exit 3` comes to in a guest whose agent is silent for so long.
  awaitable<int> status_after_a_silence(Vm& vm, std::chrono::milliseconds silence) {
    auto sleep = [](MortalGuest& guest, std::chrono::milliseconds time) -> awaitable<void> {
      guest.silent = true;
      co_await sleep_for(time);
      guest.silent = false;
    };
    int status = -1;
    auto run = [](Vm& on, int& out) -> awaitable<void> {
      out = (co_await on.exec(command({"exit", "3"}))).status;
    };
    std::vector<awaitable<void>> both;
    both.push_back(sleep(*guest_, silence));
    both.push_back(run(vm, status));
    co_await all(std::move(both));
    co_return status;
  }

  px::testing::TemporaryDirectory images_;
  std::shared_ptr<MortalGuest> guest_ = std::make_shared<MortalGuest>();
  std::optional<px::testing::NodeUnderTest> node_;
  std::string hardware_;  ///< of the VMs
  asio::thread_pool pool_{1};
};

TEST_F(DyingVm, isToldToBeStopped) {
  EXPECT_THAT(told([&] { call("POST", "/status/stop"); }),
              HasSubstr("VM 100 (victim0) on node proxmox is stopped"));
}

TEST_F(DyingVm, isToldToBeDeleted) {
  EXPECT_THAT(told([&] {
                call("POST", "/status/stop");
                call("DELETE", "");
              }),
              HasSubstr("VM 100 (victim0) on node proxmox is gone. It was deleted"));
}

TEST_F(DyingVm, isToldToHavePanicked) {
  EXPECT_THAT(told([&] { guest_->halt("guest-panicked"); }),
              HasSubstr("is dead: its kernel panicked (status running, qmpstatus guest-panicked"));
}

TEST_F(DyingVm, isToldToBePausedByItsFullStorage) {
  EXPECT_THAT(told([&] { guest_->halt("io-error"); }),
              HasSubstr("is paused by an I/O error: the storage of its disks is full"));
}

TEST_F(DyingVm, isToldToBePaused) {
  EXPECT_THAT(told([&] { call("POST", "/status/suspend"); }),
              HasSubstr("VM 100 (victim0) on node proxmox is paused (status running"));
}

TEST_F(DyingVm, isToldToHaveNoAgentAnyMore) {
  EXPECT_THAT(
      told([&] { guest_->silent = true; }),
      HasSubstr("the guest agent of VM 100 (victim0) on node proxmox does not answer, though "
                "the VM runs (status running, qmpstatus running"));
}

TEST_F(DyingVm, isToldWithWhatItsConsolePrints) {
  hardware_ = "&serial0=socket";
  EXPECT_THAT(told([&] { guest_->silent = true; }),
              AllOf(HasSubstr("does not answer, though the VM runs"),
                    HasSubstr("\n  console: [ 9.1] Out of memory: Killed process 1 (init)")));
}

TEST_F(DyingVm, isToldInTimeWhenItsConsoleIsSlow) {
  hardware_ = "&serial0=socket";
  node_->send("POST", "/_control/faults", {{"Content-Type", "application/x-www-form-urlencoded"}},
              "action=delay&delay_ms=60000&pattern=POST+.*/termproxy&nth=1");
  EXPECT_THAT(
      told([&] { guest_->silent = true; }),
      AllOf(HasSubstr("does not answer, though the VM runs"), Not(HasSubstr("console: ["))));
}

TEST_F(DyingVm, isToldToHaveLostItsServer) {
  EXPECT_THAT(told([&] { node_.reset(); }),
              HasSubstr("the server of VM 100 (victim0) on node proxmox does not answer"));
}

TEST_F(DyingVm, isToldAtOnceThoughAllVmsOfItsServerDie) {
  // Their pings have all of the server's workers, for 3 s each.
  with_vms(24, [&](const Vms& vms) {
    return all_are_told(vms, [&] { guest_->halt("io-error"); }, "the storage of its disks is full");
  });
}

TEST_F(DyingVm, isToldToAllItsCommandsAtOnce) {
  with_vms(1, [&](const Vms& vms) {
    return all_are_told(Vms(30, vms.front()), [&] { guest_->silent = true; }, "does not answer");
  });
}

TEST_F(DyingVm, isUsedAgainAfterItsAgentCameBack) {
  with_vm([&](Vm& vm) -> awaitable<void> {
    guest_->silent = true;
    EXPECT_THROW(co_await vm.exec(command({"exit", "0"})), Error);
    guest_->silent = false;
    // Who asks at once may hear what was just found out.
    co_await sleep_for(6s);
    EXPECT_EQ((co_await vm.exec(command({"exit", "3"}))).status, 3);
  });
}

TEST_F(DyingVm, isNotAGuestWhoseAgentTakesSeconds) {
  with_vm([&](Vm& vm) -> awaitable<void> {
    // As under emulation, when much is going on: silent for two of the server's waits.
    EXPECT_EQ(co_await status_after_a_silence(vm, 6500ms), 3);
  });
}

TEST_F(DyingVm, isNotAGuestThatIsStarvedOfProcessors) {
  guest_->pressure = 80;
  with_vm(
      [&](Vm& vm) -> awaitable<void> { EXPECT_EQ(co_await status_after_a_silence(vm, 14s), 3); });
}

TEST_F(DyingVm, isNotOneOfTenThousandCommandsThatFailByThemselves) {
  with_vms(4, [&](const Vms& vms) -> awaitable<void> {
    constexpr int at_once = 100;
    int failed = 0;
    const auto run = [&](int number) -> awaitable<void> {
      Vm& vm = *vms[static_cast<std::size_t>(number) % vms.size()];
      for (; number < 10'000; number += at_once) {
        const int wanted = 1 + number % 255;
        std::string program = "exit";
        if (number % 17 == 0) program = "no-such-program";
        if (number % 19 == 0) program = "no-permission";
        try {
          const auto result = co_await vm.exec(command({program, std::to_string(wanted)}));
          EXPECT_EQ(result.status, program == "exit" ? wanted : 127);
          if (result.status != 0) ++failed;
        } catch (const Error& error) {
          EXPECT_EQ(error.kind, Errc::file_permission) << error.what();
          ++failed;
        }
      }
    };
    std::vector<awaitable<void>> lanes;
    for (int i = 0; i < at_once; ++i) lanes.push_back(run(i));
    co_await all(std::move(lanes));
    EXPECT_EQ(failed, 10'000);
  });
}

}  // namespace
}  // namespace px::sandbox
