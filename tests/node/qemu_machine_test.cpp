#include "node/vm/qemu_machine.hpp"

#include "node/vm/accelerator.hpp"
#include "node/vm/disks.hpp"
#include "run.hpp"
#include "support/bytes.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <stdlib.h>

namespace px::node {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// A real guest from the project's image; skipped where that was not built.
class QemuMachineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* images = ::getenv("PROXMOX_SANDBOX_IMAGES");
    image_ = fs::path{images != nullptr ? images : PX_SOURCE_DIR "/build/images"} /
             "debian13-small.qcow2";
    if (!fs::exists(image_)) GTEST_SKIP() << "no guest image " << image_;
    directory_ = fs::temp_directory_path() / ("px-node-" + random_hex(8));
    fs::create_directories(directory_ / "run");
    host_.version = installed_qemu_version(host_.binary);
    host_.cpus = 2;
    host_.run_directory = directory_ / "run";
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  static awaitable<json::value> finish(AgentPort& agent, json::value started) {
    const auto pid = json::number_at(started, "pid");
    for (;;) {
      json::value status = co_await agent.call("guest-exec-status", json::object{{"pid", pid}}, 5s);
      if (json::flag_or(status, "exited", false)) co_return status;
      co_await sleep_for(5ms);
    }
  }
  static awaitable<std::string> shell(AgentPort& agent, std::string script) {
    json::value started = co_await agent.call(
        "guest-exec",
        json::object{
            {"path", "/bin/sh"}, {"arg", json::array{"-c", script}}, {"capture-output", true}},
        10s);
    const json::value status = co_await finish(agent, std::move(started));
    co_return from_base64(json::text_or(status, "out-data"));
  }

  MachineSetup linked_clone() {
    const auto disk = directory_ / "vm-101-disk-0.qcow2";
    QemuDisks{}.create_linked(disk, image_, "qcow2");
    MachineSetup setup;
    setup.options = {{"agent", "enabled=1"},
                     {"boot", "order=scsi0"},
                     {"cores", "2"},
                     {"cpu", "host"},
                     {"memory", "512"},
                     {"scsi0", "local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2"},
                     {"scsi3", "none,media=cdrom"},
                     {"scsihw", "virtio-scsi-pci"},
                     {"serial0", "socket"},
                     {"vga", "serial0"}};
    setup.volumes[setup.options["scsi0"]] = disk;
    return setup;
  }

  fs::path image_;
  fs::path directory_;
  QemuHost host_;
};

awaitable<void> use(QemuHost& host, MachineSetup setup, fs::path medium,
                    awaitable<std::string> (*shell)(AgentPort&, std::string)) {
  const auto executor = co_await asio::this_coro::executor;
  QemuMachine machine{executor, host, 101};
  co_await machine.start(setup);
  EXPECT_TRUE(machine.status().running);
  co_await machine.agent().call("guest-ping", {}, 60s);

  EXPECT_EQ(co_await shell(machine.agent(), "echo before >/run/mark; cat /run/mark"), "before\n");

  std::ofstream{medium} << std::string(4096, 'x');
  co_await machine.change_medium("scsi3", medium);
  EXPECT_EQ(co_await shell(machine.agent(), "modprobe sr_mod; sleep .5; head -c 4 /dev/sr0"),
            "xxxx");
  co_await machine.change_medium("scsi3", {});

  co_await machine.save_snapshot("snap1", {"scsi0"}, true);
  EXPECT_EQ(co_await shell(machine.agent(), "echo after >/run/mark; cat /run/mark"), "after\n");
  co_await machine.stop();
  EXPECT_FALSE(machine.status().running);
  setup.load_snapshot = "snap1";
  co_await machine.start(setup);
  EXPECT_EQ(co_await shell(machine.agent(), "cat /run/mark"), "before\n") << "the memory came back";

  co_await machine.delete_snapshot("snap1", {"scsi0"});
}

awaitable<void> take_over(QemuHost& host) {
  QemuMachine machine{co_await asio::this_coro::executor, host, 101};
  EXPECT_TRUE(machine.status().running) << "a later node takes a running VM over";
  co_await machine.refresh();
  EXPECT_FALSE(machine.status().paused);
  co_await machine.agent().call("guest-ping", {}, 5s);
  co_await machine.shutdown(Deadline::after(30s));
  EXPECT_FALSE(machine.status().running);
}

TEST_F(QemuMachineTest, bootsRunsCommandsChangesMediaAndReturnsToASnapshotWithMemory) {
  testing::run(use(host_, linked_clone(), directory_ / "medium.iso", &QemuMachineTest::shell));
  testing::run(take_over(host_));
}

}  // namespace
}  // namespace px::node
