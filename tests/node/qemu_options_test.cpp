#include "node/vm/accelerator.hpp"
#include "node/vm_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <stdlib.h>
#include <thread>

namespace px::node {
namespace {

using node::testing::Params;
using node::testing::VmApi;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// Real QEMU without a guest: whether it takes what the command line says.
class QemuOptions : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      host_.version = installed_qemu_version(host_.binary);
    } catch (const Error& error) {
      GTEST_SKIP() << error.said;
    }
    host_.cpus = static_cast<int>(std::thread::hardware_concurrency());
    host_.node_name = "pve1";
    host_.run_directory = directory_.path() / "run";
    host_.firmware = find_uefi_firmwares();
  }

  template <class Use>
  void with_node(Use use) {
    auto body = [](const std::filesystem::path& at, const QemuHost& host,
                   Use& action) -> awaitable<void> {
      const auto executor = co_await asio::this_coro::executor;
      VmApi api{executor, at, qemu_machines(executor, host)};
      std::exception_ptr failure;
      try {
        co_await action(api);
      } catch (...) {
        failure = std::current_exception();
      }
      co_await api.vms.stop_all();
      if (failure) std::rethrow_exception(failure);
    };
    px::testing::run(body(directory_.path(), host_, use));
  }

  static awaitable<std::string> log_of(VmApi& api, json::value upid) {
    const json::value lines = co_await api.send(
        "GET", fmt::format("/nodes/pve1/tasks/{}/log", std::string_view{upid.as_string()}));
    std::string log;
    for (const auto& line : lines.as_array()) log += json::text_or(line, "t") + "|";
    co_return log;
  }

  static awaitable<std::string> start(VmApi& api, Params options) {
    Params params{{"vmid", "100"}, {"kvm", "0"}};
    if (options.back().first != "memory") params.emplace_back("memory", "64");
    params.insert(params.end(), options.begin(), options.end());
    const std::string made = co_await api.task("POST", "", params);
    if (made != "OK") co_return made;
    const json::value upid = co_await api.vm("POST", "/100/status/start");
    std::string started = co_await api.end_of(upid);
    if (started != "OK") started += "|" + co_await log_of(api, upid);
    co_await api.task("POST", "/100/status/stop");
    EXPECT_EQ(co_await api.task("DELETE", "/100"), "OK");
    co_return started;
  }

  node::testing::TemporaryDirectory directory_;
  QemuHost host_;
};

TEST_F(QemuOptions, ofAVmThatIsHeldShowInTheStateThatQemuSays) {
  with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "",
                                {{"vmid", "100"}, {"kvm", "0"}, {"memory", "64"}, {"freeze", "1"}}),
              "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    const json::value status = co_await api.vm("GET", "/100/status/current");
    EXPECT_EQ(json::text_at(status, "status"), "running");
    EXPECT_EQ(json::text_at(status, "qmpstatus"), "prelaunch");
    EXPECT_EQ(co_await api.task("POST", "/100/status/stop"), "OK");
    const json::value stopped = co_await api.vm("GET", "/100/status/current");
    EXPECT_EQ(json::text_at(stopped, "qmpstatus"), "stopped");
  });
}

TEST_F(QemuOptions, areTakenByQemu) {
  with_node([](VmApi& api) -> awaitable<void> {
    const std::vector<Params> machines{
        {{"vga", "cirrus,memory=16"},
         {"scsihw", "megasas"},
         {"scsi0", "local:1"},
         {"scsi1", "local:1,serial=a%20b,wwn=0x5000c50015ea71aa,ssd=1,vendor=ACME,product=disk"},
         {"balloon", "32"},
         {"tablet", "1"},
         {"watchdog", "i6300esb,action=pause"},
         {"audio0", "device=AC97"},
         {"rng0", "source=/dev/urandom,max_bytes=1024,period=500"},
         {"machine", "pc,enable-s3=0"},
         {"startdate", "2006-06-17T16:01:21"},
         {"localtime", "1"}},
        {{"vga", "virtio,memory=64"},
         {"machine", "q35,enable-s4=1"},
         {"scsihw", "virtio-scsi-single"},
         {"scsi0", "local:1,iothread=1,cache=writethrough,detect_zeroes=1"},
         {"virtio0", "local:1,iothread=1,cache=unsafe,discard=ignore,ro=1,rerror=report"},
         {"sata2", "local:1,ssd=1,cache=writeback"},
         {"ide1", "local:1,model=Disk%201,werror=stop"},
         {"audio0", "device=ich9-intel-hda,driver=none"},
         {"tablet", "1"},
         {"watchdog", "model=ib700"},
         {"keyboard", "de"},
         {"agent", "1,type=isa"},
         {"serial0", "socket"},
         {"serial1", "socket"},
         {"tdf", "1"}},
        {{"vga", "vmware"},
         {"scsihw", "lsi"},
         {"scsi0", "local:1"},
         {"scsi9", "local:1"},
         {"numa", "1"},
         {"sockets", "2"},
         {"vcpus", "1"},
         {"cpu", "Haswell,flags=+aes;-pcid;+nested-virt,hidden=1,level=30,phys-bits=40"},
         {"acpi", "0"},
         {"affinity", "0"},
         {"args", "-global PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off"},
         {"smbios1", "base64=1,manufacturer=QSxC,serial=MTIz"},
         {"reboot", "0"}},
        {{"vga", "none"},
         {"scsihw", "pvscsi"},
         {"scsi0", "local:1"},
         {"numa", "1"},
         {"numa0", "cpus=0,memory=64"},
         {"freeze", "1"},
         {"ostype", "win10"}}};
    for (const auto& options : machines) {
      EXPECT_EQ(co_await start(api, options), "OK") << options.front().second;
    }
  });
}

/// Processes whose command line has `text` in it.
int processes_with(const std::string& text) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    std::ifstream file{entry.path() / "cmdline"};
    const std::string line{std::istreambuf_iterator<char>{file}, {}};
    if (line.find(text) != std::string::npos) ++found;
  }
  return found;
}

/// Gives a process that was told to end a moment for it.
awaitable<int> processes_left_with(std::string text) {
  for (int look = 0; look < 100 && processes_with(text) > 0; ++look) {
    co_await sleep_for(std::chrono::milliseconds{20});
  }
  co_return processes_with(text);
}

TEST_F(QemuOptions, giveATpmThatEndsWithItsMachineAndKeepsItsState) {
  if (run_tool({"sh", "-c", "command -v swtpm"}).exit_code != 0) GTEST_SKIP() << "no swtpm";
  with_node([this](VmApi& api) -> awaitable<void> {
    for (const auto* version : {"v2.0", "v1.2"}) {
      EXPECT_EQ(co_await api.task("POST", "",
                                  {{"vmid", "100"},
                                   {"memory", "64"},
                                   {"kvm", "0"},
                                   {"tpmstate0", fmt::format("local:1,version={}", version)}}),
                "OK");
      EXPECT_EQ(co_await api.option(100, "tpmstate0"),
                fmt::format("local:100/vm-100-disk-0.raw,size=4M,version={}", version));
      const auto state = api.path("local:100/vm-100-disk-0.raw");
      EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
      EXPECT_EQ(processes_with(state.string()), 1) << version;
      std::string mark(8, '\0');
      std::ifstream{state}.read(mark.data(), 8);
      EXPECT_EQ(mark, "nilmptws") << "swtpm keeps its state in the volume";
      EXPECT_EQ(co_await api.task("POST", "/100/status/stop"), "OK");
      EXPECT_EQ(co_await processes_left_with(state.string()), 0);
      EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK") << "with the state it left";
      const json::value status = co_await api.vm("GET", "/100/status/current");
      ::kill(static_cast<pid_t>(json::number_at(status, "pid")), SIGKILL);
      EXPECT_EQ(co_await processes_left_with(state.string()), 0) << "after a killed QEMU";
      EXPECT_EQ(co_await api.task("POST", "/100/status/stop"), "OK");
      co_await api.vm("PUT", "/100/config", {{"args", "-no-such-option"}});
      EXPECT_NE(co_await api.task("POST", "/100/status/start"), "OK");
      EXPECT_EQ(co_await processes_left_with(state.string()), 0) << "after a refused start";
      EXPECT_EQ(co_await api.task("DELETE", "/100"), "OK");
      EXPECT_FALSE(std::filesystem::exists(state));
      EXPECT_TRUE(std::filesystem::is_empty(directory_.path() / "run"));
    }
  });
}

TEST_F(QemuOptions, sayThatATpmNeedsItsEmulator) {
  with_node([this](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task(
                  "POST", "",
                  {{"vmid", "100"}, {"memory", "64"}, {"kvm", "0"}, {"tpmstate0", "local:1"}}),
              "OK");
    const auto programs = directory_.path() / "programs";
    std::filesystem::create_directory(programs);
    std::string found = run_tool({"sh", "-c", "command -v qemu-system-x86_64"}).output;
    while (found.ends_with('\n')) found.pop_back();
    std::filesystem::create_symlink(found, programs / "qemu-system-x86_64");
    const std::string path = ::getenv("PATH");
    ::setenv("PATH", programs.c_str(), 1);
    const std::string refusal = co_await api.task("POST", "/100/status/start");
    ::setenv("PATH", path.c_str(), 1);
    EXPECT_EQ(refusal, "a VM with tpmstate0 needs swtpm: swtpm: No such file or directory");
  });
}

TEST_F(QemuOptions, startTheFirmwareThatTheEfiDiskAsksFor) {
  if (host_.firmware.secure_boot.code.empty()) GTEST_SKIP() << "no secure boot firmware";
  with_node([](VmApi& api) -> awaitable<void> {
    const Params uefi{{"bios", "ovmf"}, {"memory", "128"}};
    const auto with = [&uefi](Params more) {
      more.insert(more.end(), uefi.begin(), uefi.end());
      return more;
    };
    EXPECT_EQ(co_await start(api, with({{"machine", "q35"},
                                        {"efidisk0", "local:1,efitype=4m,pre-enrolled-keys=1"}})),
              "OK");
    EXPECT_EQ(co_await start(api, with({{"efidisk0", "local:1,efitype=4m"}})), "OK");
    EXPECT_THAT(co_await start(api, with({{"efidisk0", "local:1,efitype=4m,pre-enrolled-keys=1"}})),
                StartsWith("efidisk0: pre-enrolled-keys=1 needs machine=q35"));
  });
}

TEST_F(QemuOptions, thatNeedWhatIsNotThereAreKeptAndRefusedAtTheStart) {
  with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_THAT(
        co_await start(api, {{"hostpci0", "0000:01:00.0"}}),
        StartsWith("the local node can't start a VM with 'hostpci0': it passes no devices of "
                   "the host on"));
    EXPECT_THAT(co_await start(api, {{"args", "-no-such-option"}}),
                AllOf(StartsWith("start failed: QEMU exited with code 1"),
                      HasSubstr("-no-such-option: invalid option")))
        << "with QEMU's own words";
  });
}

}  // namespace
}  // namespace px::node
