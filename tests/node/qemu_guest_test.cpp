#include "node/vm/accelerator.hpp"
#include "node/vm_api.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <stdlib.h>
#include <thread>

namespace px::node {
namespace {

using namespace std::chrono_literals;
using node::testing::VmApi;
namespace fs = std::filesystem;

/// A real guest from the project's image; skipped where that was not built.
class QemuGuest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* images = ::getenv("PROXMOX_SANDBOX_IMAGES");
    image_ = fs::path{images != nullptr ? images : PX_SOURCE_DIR "/build/images"} /
             "debian13-small.qcow2";
    if (!fs::exists(image_)) GTEST_SKIP() << "no guest image " << image_;
    host_.version = installed_qemu_version(host_.binary);
    host_.cpus = static_cast<int>(std::thread::hardware_concurrency());
    host_.node_name = "pve1";
    host_.run_directory = directory_.path() / "run";
    host_.firmware = find_uefi_firmwares();
  }
  void TearDown() override {
    auto stop = [](VmApi& api) -> awaitable<void> { co_await api.vms.stop_all(); };
    if (fs::exists(host_.run_directory)) with_node(stop);
  }

  /// A node over the same directory, as after a restart.
  template <class Use>
  void with_node(Use use, bool real_networks = false) {
    auto body = [](const fs::path& at, const QemuHost& host, bool networks,
                   Use& action) -> awaitable<void> {
      const auto executor = co_await asio::this_coro::executor;
      VmApi api{executor, at, qemu_machines(executor, host), networks};
      co_await api.vms.refresh();
      co_await action(api);
    };
    px::testing::run(body(directory_.path(), host_, real_networks, use));
  }

  static awaitable<void> wait_for_agent(VmApi& api, std::string vm) {
    for (int i = 0; i < 30; ++i) {
      if ((co_await api.refusal("POST", vm + "/agent/ping")).empty()) co_return;
    }
    ADD_FAILURE() << vm << " does not come up";
  }
  static awaitable<std::string> shell(VmApi& api, std::string vm, std::string script) {
    const json::value started =
        co_await api.vm("POST", vm + "/agent/exec",
                        {{"command", "/bin/sh"}, {"command", "-c"}, {"command", script}});
    const std::string pid = std::to_string(json::number_at(started, "pid"));
    for (;;) {
      const json::value status = co_await api.vm("GET", vm + "/agent/exec-status", {{"pid", pid}});
      if (json::flag_or(status, "exited", false)) co_return json::text_or(status, "out-data");
    }
  }
  awaitable<void> make_template(VmApi& api, node::testing::Params more = {}) {
    fs::copy_file(image_, api.path("local:import/guest.qcow2"));
    node::testing::Params params{
        {"vmid", "100"},         {"name", "base"},
        {"memory", "512"},       {"cpu", "host"},
        {"agent", "enabled=1"},  {"scsihw", "virtio-scsi-pci"},
        {"boot", "order=scsi0"}, {"serial0", "socket"},
        {"vga", "serial0"},      {"scsi0", "local:0,import-from=local:import/guest.qcow2"}};
    params.insert(params.end(), more.begin(), more.end());
    EXPECT_EQ(co_await api.task("POST", "", params), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/template"), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/clone", {{"newid", "101"}, {"name", "one"}}), "OK");
  }

  /// Why there can't be networks; empty when there can.
  static std::string network_obstacle() {
    if (::geteuid() != 0) return "networks need root here";
    if (run_tool({"sh", "-c", "command -v nft && command -v dnsmasq"}).exit_code != 0) {
      return "nft or dnsmasq is not installed";
    }
    return {};
  }
  /// VNets v1 and v2 in zones of their own.
  static awaitable<void> make_networks(VmApi& api) {
    for (const auto* number : {"1", "2"}) {
      const auto zone = fmt::format("z{}", number);
      const auto vnet = fmt::format("v{}", number);
      co_await api.send("POST", "/cluster/sdn/zones",
                        {{"zone", zone}, {"type", "simple"}, {"ipam", "pve"}, {"dhcp", "dnsmasq"}});
      co_await api.send("POST", "/cluster/sdn/vnets", {{"vnet", vnet}, {"zone", zone}});
      co_await api.send("POST", fmt::format("/cluster/sdn/vnets/{}/subnets", vnet),
                        {{"subnet", fmt::format("10.88.{}.0/24", number)},
                         {"type", "subnet"},
                         {"gateway", fmt::format("10.88.{}.1", number)}});
    }
    EXPECT_EQ(co_await api.end_of(co_await api.send("PUT", "/cluster/sdn")), "OK");
  }
  static awaitable<bool> has_address(VmApi& api, std::string vm, std::string ip) {
    for (int i = 0; i < 100; ++i) {
      const json::value answer = co_await api.vm("GET", vm + "/agent/network-get-interfaces");
      if (boost::json::serialize(answer).find('"' + ip + '"') != std::string::npos) co_return true;
      co_await sleep_for(200ms);
    }
    co_return false;
  }
  /// Connects to a port, where it is let in, or refused by who is there.
  static awaitable<bool> reaches(VmApi& api, std::string vm, std::string ip, int port = 9) {
    const auto said = co_await shell(
        api, vm,
        fmt::format("timeout 3 bash -c 'exec 3<>/dev/tcp/{}/{} && echo in' 2>&1", ip, port));
    co_return said.find("Connection refused") != std::string::npos || said == "in\n";
  }
  /// What is open must answer, but two emulated guests under load may need more than one try.
  static awaitable<bool> comes_to_reach(VmApi& api, std::string vm, std::string ip, int port = 9) {
    for (int attempt = 0; attempt < 5; ++attempt) {
      if (co_await reaches(api, vm, ip, port)) co_return true;
    }
    co_return false;
  }

  fs::path image_;
  node::testing::TemporaryDirectory directory_;
  QemuHost host_;
};

TEST_F(QemuGuest, livesThroughTheApiFromImportToDestroy) {
  with_node([this](VmApi& api) -> awaitable<void> {
    co_await make_template(api);
    co_await api.vm("PUT", "/101/config", {{"scsi3", "none,media=cdrom"}});
    EXPECT_EQ(co_await api.task("POST", "/101/status/start"), "OK");
    co_await wait_for_agent(api, "/101");
    EXPECT_EQ(co_await shell(api, "/101", "echo before >/run/mark; cat /run/mark"), "before\n");
    EXPECT_EQ(co_await api.refusal("POST", "/101/agent/exec", {{"command", "no-such-program"}}),
              "596 Broken pipe");

    const auto read_medium = [&api](std::string drive) -> awaitable<std::string> {
      co_return co_await shell(
          api, "/101",
          "modprobe sr_mod; i=0; while [ $i -lt 50 ]; do for d in /dev/sr*; do "
          "b=$(head -c 4 $d 2>/dev/null) && [ -n \"$b\" ] && echo $b && exit; done; sleep .1; "
          "i=$((i+1)); done # " +
              drive);
    };
    api.put_file("local:iso/a.iso", std::string(4096, 'a'));
    api.put_file("local:iso/b.iso", std::string(8192, 'b'));
    co_await api.vm("PUT", "/101/config", {{"scsi3", "local:iso/a.iso,media=cdrom"}});
    EXPECT_EQ(co_await read_medium("scsi3"), "aaaa\n");
    co_await api.vm("PUT", "/101/config", {{"scsi3", "local:iso/b.iso,media=cdrom"}});
    EXPECT_EQ(co_await read_medium("scsi3"), "bbbb\n") << "changed without an empty state between";
    co_await api.vm("PUT", "/101/config", {{"scsi3", "none,media=cdrom"}});
    co_await api.vm("PUT", "/101/config", {{"scsi5", "local:iso/a.iso,media=cdrom"}});
    EXPECT_EQ(co_await read_medium("scsi5"), "aaaa\n") << "a plugged drive";
    co_await api.vm("PUT", "/101/config", {{"delete", "scsi5"}});
    co_await api.vm("PUT", "/101/config", {{"net0", "virtio,bridge=vmbr0"}});
    EXPECT_EQ(
        co_await shell(api, "/101",
                       "i=0; until grep -q 0x1000 /sys/bus/pci/devices/*/device; do sleep .1; "
                       "i=$((i+1)); [ $i -lt 50 ] || exit; done; echo plugged"),
        "plugged\n");
    co_await api.vm("PUT", "/101/config", {{"delete", "net0"}});

    EXPECT_EQ(co_await api.task("POST", "/101/snapshot", {{"snapname", "ram1"}, {"vmstate", "1"}}),
              "OK");
    EXPECT_EQ(co_await shell(api, "/101", "echo after >/run/mark; cat /run/mark"), "after\n");
    EXPECT_EQ(co_await api.task("POST", "/101/snapshot/ram1/rollback"), "OK");
    EXPECT_EQ(co_await shell(api, "/101", "cat /run/mark"), "before\n") << "the memory came back";
    EXPECT_EQ(co_await api.task("DELETE", "/101/snapshot/ram1"), "OK");
  });
  with_node([](VmApi& api) -> awaitable<void> {
    const json::value status = co_await api.vm("GET", "/101/status/current");
    EXPECT_EQ(json::text_at(status, "qmpstatus"), "running") << "the next node takes it over";
    EXPECT_EQ(co_await shell(api, "/101", "cat /run/mark"), "before\n");
    EXPECT_EQ(co_await api.task("POST", "/101/snapshot", {{"snapname", "disk1"}}), "OK");
    EXPECT_EQ(co_await api.task("POST", "/101/snapshot/disk1/rollback"), "OK");
    const json::value stopped = co_await api.vm("GET", "/101/status/current");
    EXPECT_EQ(json::text_at(stopped, "status"), "stopped") << "no memory was saved";
    EXPECT_EQ(co_await api.task("POST", "/101/status/start"), "OK");
    const json::value running = co_await api.vm("GET", "/101/status/current");
    ::kill(static_cast<pid_t>(json::number_at(running, "pid")), SIGKILL);
    std::string status_of_killed;
    for (int look = 0; look < 100 && status_of_killed != "stopped"; ++look) {
      co_await sleep_for(50ms);  // a machine under load takes its time to end a process
      const json::value killed = co_await api.vm("GET", "/101/status/current");
      status_of_killed = json::text_at(killed, "status");
    }
    EXPECT_EQ(status_of_killed, "stopped") << "a killed QEMU shows";
    EXPECT_EQ(co_await api.task("DELETE", "/101"), "OK");
    EXPECT_EQ(co_await api.task("DELETE", "/100"), "OK");
    EXPECT_TRUE(fs::is_empty(api.path("local:100/x").parent_path().parent_path()));
  });
}

TEST_F(QemuGuest, isBackedUpWhileItRunsAndBootsFromTheBackup) {
  with_node([this](VmApi& api) -> awaitable<void> {
    co_await make_template(api);
    EXPECT_EQ(co_await api.task("POST", "/101/status/start"), "OK");
    co_await wait_for_agent(api, "/101");
    co_await shell(api, "/101", "echo kept > /root/mark; sync");
    const auto upid =
        co_await api.send("POST", "/nodes/pve1/vzdump", {{"vmid", "101"}, {"compress", "zstd"}});
    EXPECT_EQ(co_await api.end_of(upid), "OK");
    EXPECT_EQ(co_await shell(api, "/101", "echo -n alive"), "alive");
    const auto list =
        co_await api.send("GET", "/nodes/pve1/storage/local/content", {{"content", "backup"}});
    const auto archive = json::text_at(list.as_array().at(0), "volid");
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "102"}, {"archive", archive}}), "OK");
    EXPECT_EQ(co_await api.task("POST", "/102/status/start"), "OK");
    co_await wait_for_agent(api, "/102");
    EXPECT_EQ(co_await shell(api, "/102", "cat /root/mark"), "kept\n");
  });
}

TEST_F(QemuGuest, bootsUnderUefiAndShutsDownByItself) {
  if (host_.firmware.standard.code.empty()) GTEST_SKIP() << "no UEFI firmware";
  with_node([this](VmApi& api) -> awaitable<void> {
    co_await make_template(api, {{"bios", "ovmf"}, {"machine", "q35"}, {"efidisk0", "local:1"}});
    EXPECT_EQ(co_await api.task("POST", "/101/status/start"), "OK");
    co_await wait_for_agent(api, "/101");
    EXPECT_EQ(co_await shell(api, "/101", "[ -d /sys/firmware/efi ] && echo uefi"), "uefi\n");
    EXPECT_EQ(co_await api.task("POST", "/101/snapshot", {{"snapname", "ram1"}, {"vmstate", "1"}}),
              "OK");
    EXPECT_EQ(co_await api.task("POST", "/101/snapshot/ram1/rollback"), "OK");
    EXPECT_EQ(co_await shell(api, "/101", "echo still here"), "still here\n");
    EXPECT_EQ(co_await api.task("POST", "/101/status/shutdown", {{"timeout", "40"}}), "OK");
  });
}

TEST_F(QemuGuest, hasATpmAndReadsItsCloudInitDrive) {
  if (host_.firmware.standard.code.empty()) GTEST_SKIP() << "no UEFI firmware";
  if (run_tool({"sh", "-c", "command -v swtpm"}).exit_code != 0) GTEST_SKIP() << "no swtpm";
  with_node([this](VmApi& api) -> awaitable<void> {
    co_await make_template(api, {{"bios", "ovmf"},
                                 {"machine", "q35"},
                                 {"efidisk0", "local:1,efitype=4m,pre-enrolled-keys=0"},
                                 {"tpmstate0", "local:1,version=v2.0"},
                                 {"scsi1", "local:cloudinit"},
                                 {"ciuser", "alice"}});
    EXPECT_EQ(co_await api.task("POST", "/101/status/start"), "OK");
    co_await wait_for_agent(api, "/101");
    EXPECT_EQ(co_await shell(api, "/101", "[ -d /sys/firmware/efi ] && echo uefi"), "uefi\n");
    EXPECT_EQ(co_await shell(api, "/101", "ls /sys/firmware/acpi/tables | grep TPM2"), "TPM2\n");
    EXPECT_EQ(co_await shell(api, "/101",
                             "modprobe sr_mod; i=0; until [ -b /dev/sr0 ]; do sleep .1; "
                             "i=$((i+1)); [ $i -lt 50 ] || exit; done; "
                             "blkid -p -o value -s LABEL /dev/sr0"),
              "cidata\n");
    EXPECT_EQ(co_await shell(api, "/101",
                             "modprobe isofs; mkdir -p /run/seed; mount -o ro /dev/sr0 /run/seed; "
                             "cd /run/seed; ls; grep hostname user-data"),
              "meta-data\nnetwork-config\nuser-data\nvendor-data\nhostname: one\n");
    co_await api.vms.stop_all();
  });
}

TEST_F(QemuGuest, talksOnItsVnetsAndNowhereElse) {
  if (const auto reason = network_obstacle(); !reason.empty()) GTEST_SKIP() << reason;
  with_node([](VmApi& api) -> awaitable<void> { co_await make_networks(api); }, true);
  with_node(
      [this](VmApi& api) -> awaitable<void> {
        EXPECT_EQ(co_await api.end_of(co_await api.send("PUT", "/cluster/sdn")), "OK");
        co_await make_template(api);
        EXPECT_EQ(co_await api.task("POST", "/100/clone", {{"newid", "102"}}), "OK");
        EXPECT_EQ(co_await api.vm("PUT", "/101/config", {{"net0", "virtio,bridge=v1"}}), nullptr);
        EXPECT_EQ(
            co_await api.vm("PUT", "/102/config", {{"net0", "virtio=BC:24:11:00:00:22,bridge=v1"}}),
            nullptr);
        co_await api.send(
            "PUT", "/cluster/sdn/vnets/v1/ips",
            {{"zone", "z1"}, {"ip", "10.88.1.77"}, {"mac", "BC:24:11:00:00:22"}, {"vmid", "102"}});
        EXPECT_EQ(co_await api.task("POST", "/101/status/start"), "OK");
        EXPECT_EQ(co_await api.task("POST", "/102/status/start"), "OK");
        co_await wait_for_agent(api, "/101");
        co_await wait_for_agent(api, "/102");
        EXPECT_TRUE(co_await has_address(api, "/101", "10.88.1.2"));
        EXPECT_TRUE(co_await has_address(api, "/102", "10.88.1.77")) << "its booking was moved";
        EXPECT_TRUE(co_await comes_to_reach(api, "/101", "10.88.1.77"));
        EXPECT_FALSE(co_await reaches(api, "/101", "10.88.2.1"));
        // Moved to the other VNet while it runs, the first guest loses sight of the second.
        const auto nic = co_await api.option(101, "net0");
        EXPECT_EQ(co_await api.vm("PUT", "/101/config",
                                  {{"net0", nic.substr(0, nic.find(',')) + ",bridge=v2"}}),
                  nullptr);
        EXPECT_FALSE(co_await reaches(api, "/101", "10.88.1.77"));
        EXPECT_EQ(co_await api.vm("PUT", "/102/config", {{"net1", "virtio,bridge=v2"}}), nullptr);
        EXPECT_EQ(co_await api.vm("PUT", "/102/config", {{"delete", "net1"}}), nullptr);
        co_await api.vms.stop_all();
      },
      true);
}

TEST_F(QemuGuest, isIsolatedByItsFirewall) {
  if (const auto reason = network_obstacle(); !reason.empty()) GTEST_SKIP() << reason;
  with_node(
      [this](VmApi& api) -> awaitable<void> {
        co_await make_networks(api);
        co_await make_template(api);
        co_await api.vm("PUT", "/100/firewall/options",
                        {{"enable", "1"}, {"policy_in", "DROP"}, {"policy_out", "DROP"}});
        co_await api.send("POST", "/cluster/firewall/groups", {{"group", "inner"}});
        for (const auto* rule : {"out ACCEPT dest 10.88.1.0/24", "out DROP dest 10.88.1.1",
                                 "in ACCEPT source 10.88.1.0/24"}) {
          std::istringstream words{rule};
          std::string type;
          std::string action;
          std::string side;
          std::string address;
          words >> type >> action >> side >> address;
          co_await api.send("POST", "/cluster/firewall/groups/inner",
                            {{"type", type}, {"action", action}, {"enable", "1"}, {side, address}});
        }
        co_await api.vm(
            "POST", "/100/firewall/rules",
            {{"type", "group"}, {"action", "inner"}, {"iface", "net0"}, {"enable", "1"}});
        EXPECT_EQ(co_await api.task("DELETE", "/101"), "OK");
        EXPECT_EQ(co_await api.task("POST", "/100/clone", {{"newid", "101"}}), "OK");
        EXPECT_EQ(co_await api.task("POST", "/100/clone", {{"newid", "102"}}), "OK");
        co_await api.vm("PUT", "/102/firewall/options", {{"enable", "0"}});
        for (const auto* number : {"1", "2"}) {
          const auto vm = fmt::format("/10{}", number);
          co_await api.vm(
              "PUT", vm + "/config",
              {{"net0", fmt::format("virtio=BC:24:11:00:00:2{},bridge=v1,firewall=1", number)}});
          EXPECT_EQ(co_await api.task("POST", vm + "/status/start"), "OK");
        }
        co_await wait_for_agent(api, "/101");
        co_await wait_for_agent(api, "/102");
        EXPECT_TRUE(co_await has_address(api, "/101", "10.88.1.2")) << "DHCP is let through";
        EXPECT_TRUE(co_await has_address(api, "/102", "10.88.1.3"));
        const std::string link_local = "fe80::be24:11ff:fe00:22%eth0";  // of the second
        EXPECT_TRUE(co_await comes_to_reach(api, "/101", "10.88.1.3"));
        EXPECT_TRUE(co_await comes_to_reach(api, "/102", "10.88.1.2"));
        EXPECT_FALSE(co_await reaches(api, "/101", "10.88.1.1", 53)) << "its gateway";
        EXPECT_FALSE(co_await reaches(api, "/101", "10.88.2.1", 53)) << "another VNet";
        EXPECT_FALSE(co_await reaches(api, "/101", link_local)) << "by IPv6";
        co_await api.vm("PUT", "/101/firewall/options", {{"enable", "0"}});
        EXPECT_TRUE(co_await comes_to_reach(api, "/101", "10.88.1.1", 53)) << "without its rules";
        EXPECT_TRUE(co_await comes_to_reach(api, "/101", link_local));
        co_await api.vms.stop_all();
        EXPECT_EQ(co_await api.task("DELETE", "/101"), "OK");
      },
      true);
}

}  // namespace
}  // namespace px::node
