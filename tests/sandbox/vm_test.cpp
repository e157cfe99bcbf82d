#include "environment.hpp"
#include "node_under_test.hpp"
#include "run.hpp"
#include "sandbox/run.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace px::sandbox {
namespace {

using px::testing::NodeUnderTest;

/// A node with simulated machines and a client of it.
class VmOnNode : public ::testing::Test {
 public:
  VmOnNode() {
    std::ofstream{images_.path() / "debian13-small.qcow2"} << "no real disk";
    ::setenv("PROXMOX_SANDBOX_IMAGES", images_.path().c_str(), 1);
  }

  Environment environment() { return px::testing::environment_of(node_.variables()); }

  /// Waits for the task that a call begins.
  void finish(const px::testing::Reply& reply) {
    ASSERT_EQ(reply.status, 200) << reply.reason << reply.body;
    ASSERT_EQ(node_.end_of_task(reply.text()), "OK");
  }
  void make_template(int vmid, const std::string& more) {
    finish(node_.call("POST", "/nodes/proxmox/qemu",
                      fmt::format("vmid={}&tags=victim&agent=1{}", vmid, more)));
    finish(node_.call("POST", fmt::format("/nodes/proxmox/qemu/{}/template", vmid)));
  }
  json::object config(std::uint32_t vmid) {
    return node_.call("GET", fmt::format("/nodes/proxmox/qemu/{}/config", vmid)).data().as_object();
  }

  px::testing::TemporaryDirectory images_;
  NodeUnderTest node_;
  asio::thread_pool pool_{1};
};

TEST_F(VmOnNode, isConfiguredByTheTemplateThatItWasReallyClonedFrom) {
  make_template(100, "");
  const std::string spec = R"({"sdn_config": null, "vms_config": [
      {"vm_source_config": {"existing_vm_template_tag": "victim"}, "nics": []}]})";
  auto work = [](VmOnNode& test, asio::thread_pool& pool, Environment environment, std::string text,
                 std::function<void()> replace) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, pool, std::move(environment)};
    co_await run.prepare(text);
    replace();  // somebody bakes the template anew, with a network card
    const auto sandbox = co_await run.bring_up(text, "task", "sample");
    EXPECT_FALSE(test.config(sandbox->vms().front()->vmid()).contains("net0"));
    co_await sandbox->destroy();
  };
  px::testing::run(work(*this, pool_, environment(), spec, [&] {
    make_template(101, "&net0=virtio,bridge=vmbr0");
    finish(node_.call("DELETE", "/nodes/proxmox/qemu/100"));
  }));
}

TEST_F(VmOnNode, namesTheSnapshotsThereAreWhereOneIsMissingOrTaken) {
  auto work = [](asio::thread_pool& pool, Environment environment) -> awaitable<std::string> {
    sandbox::Run run{co_await asio::this_coro::executor, pool, std::move(environment)};
    const auto sandbox = co_await run.bring_up(R"({"sdn_config": null, "vms_config": [
        {"vm_source_config": {"built_in": "debian13-small"}, "nics": []}]})",
                                               "task", "sample");
    const auto& vm = sandbox->vms().front();
    co_await vm->create_snapshot("clean", "");
    std::string said;
    const auto note = [&](const Error& error) {
      EXPECT_EQ(error.kind, Errc::bad_input) << error.what();
      said += std::string{error.what()} + "\n";
    };
    try {
      co_await vm->restore_snapshot("clear");
    } catch (const Error& error) {
      note(error);
    }
    try {
      co_await vm->delete_snapshot("clear");
    } catch (const Error& error) {
      note(error);
    }
    try {
      co_await vm->create_snapshot("clean", "");
    } catch (const Error& error) {
      note(error);
    }
    co_await sandbox->destroy();
    co_return said;
  };
  EXPECT_EQ(px::testing::run(work(pool_, environment())),
            "snapshot: is \"clear\"; VM 101 (default) on node proxmox has clean\n"
            "snapshot: is \"clear\"; VM 101 (default) on node proxmox has clean\n"
            "snapshot: is \"clean\"; VM 101 (default) on node proxmox has clean already\n");
}

TEST_F(VmOnNode, ofABuiltInHasTheCpuOfItsNode) {
  auto work = [](asio::thread_pool& pool, Environment environment) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, pool, std::move(environment)};
    co_await run.prepare(R"({"sdn_config": null, "vms_config": [
        {"vm_source_config": {"built_in": "debian13-small"}, "nics": []}]})");
  };
  px::testing::run(work(pool_, environment()));
  const auto options = config(100);
  EXPECT_EQ(json::text_or(options, "cpu"), "host");
  EXPECT_FALSE(options.contains("kvm"));
}

}  // namespace
}  // namespace px::sandbox
