#include "node/vm_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::node {
namespace {

using namespace std::chrono_literals;
using node::testing::Params;
using node::testing::VmApi;
using ::testing::HasSubstr;

/// Runs `use(api)` on a node of simulated machines.
template <class Use>
void with_simulated_node(Use use, Simulation simulation = {}) {
  const node::testing::TemporaryDirectory directory;
  auto body = [](const std::filesystem::path& at, const Simulation& machines,
                 Use& action) -> awaitable<void> {
    VmApi api{co_await asio::this_coro::executor, at, simulated_machines(machines)};
    api.put_file("local:import/guest.qcow2", std::string(65536, 'q'));
    api.put_file("local:iso/a.iso", std::string(4096, 'a'));
    co_await action(api);
  };
  px::testing::run(body(directory.path(), simulation, use));
}

const Params guest{{"vmid", "100"},
                   {"name", "base"},
                   {"memory", "512"},
                   {"agent", "enabled=1"},
                   {"scsihw", "virtio-scsi-pci"},
                   {"boot", "order=scsi0"},
                   {"tags", "inspect;Base"},
                   {"net0", "virtio,bridge=vmbr0"},
                   {"scsi0", "local:0,import-from=local:import/guest.qcow2,format=qcow2"}};

Params guest_with(const std::string& name, const std::string& value) {
  Params out;
  for (const auto& param : guest) {
    if (param.first != name) out.push_back(param);
  }
  out.emplace_back(name, value);
  return out;
}

awaitable<void> make_template(VmApi& api) {
  EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
  EXPECT_EQ(co_await api.task("POST", "/100/template"), "OK");
}

awaitable<void> make_running_clone(VmApi& api) {
  co_await make_template(api);
  EXPECT_EQ(co_await api.task("POST", "/100/clone", {{"newid", "101"}, {"name", "one"}}), "OK");
  EXPECT_EQ(co_await api.vm("PUT", "/101/config", {{"scsi3", "none,media=cdrom"}}), nullptr);
  EXPECT_EQ(co_await api.task("POST", "/101/status/start"), "OK");
}

TEST(VmLifecycle, importsADiskAndTellsItsConfigurationAsTheRealServerDoes) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    const json::value config = co_await api.vm("GET", "/100/config");
    EXPECT_EQ(json::text_at(config, "scsi0"), "local:100/vm-100-disk-0.qcow2,size=64K");
    EXPECT_EQ(json::text_at(config, "tags"), "base;inspect");
    EXPECT_EQ(json::text_at(config, "memory"), "512");
    EXPECT_EQ(json::text_at(config, "digest").size(), 40U);
    EXPECT_TRUE(json::text_at(config, "net0").starts_with("virtio=BC:24:11:"));
    EXPECT_TRUE(json::text_at(config, "smbios1").starts_with("uuid="));
    const json::value list = co_await api.vm("GET", "");
    EXPECT_EQ(json::text_at(list.at(0), "name"), "base");
    EXPECT_EQ(json::text_at(list.at(0), "status"), "stopped");
  });
}

TEST(VmLifecycle, refusesABadCreateInTheRealServersWords) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.refusal("POST", "", guest_with("scsi0", "nope:8")),
              "500 storage 'nope' does not exist");
    EXPECT_THAT(
        co_await api.refusal("POST", "",
                             guest_with("scsi0", "local:8,import-from=local:import/guest.qcow2")),
        HasSubstr("|scsi0: 'import-from' requires special syntax"));
    EXPECT_THAT(co_await api.refusal("POST", "", guest_with("memory", "10")),
                HasSubstr("memory.current: value must have a minimum value of 16"));
    EXPECT_THAT(co_await api.refusal("POST", "", guest_with("name", "bad name")),
                HasSubstr("value does not look like a valid DNS name"));
    EXPECT_THAT(co_await api.refusal("POST", "", guest_with("tags", "bad tag!;ok")),
                HasSubstr("invalid characters in tag"));
    EXPECT_THAT(co_await api.refusal("POST", "", guest_with("net0", "virtio=zz:zz,bridge=v")),
                HasSubstr("does not look like a valid unicast MAC address"));
    EXPECT_EQ(co_await api.refusal("POST", "", guest_with("pool", "nope")),
              "403 Permission check failed (pool 'nope' does not exist)");
    EXPECT_TRUE(api.vms.all().empty());
  });
}

TEST(VmLifecycle, leavesNothingOfAFailedImport) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    const std::string end = co_await api.task(
        "POST", "", guest_with("scsi1", "local:0,import-from=local:import/nope.qcow2"));
    EXPECT_THAT(end, HasSubstr("unable to create VM 100 - failed to stat '"));
    EXPECT_TRUE(api.vms.all().empty());
    EXPECT_FALSE(std::filesystem::exists(api.path("local:100/vm-100-disk-0.qcow2").parent_path()));
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    EXPECT_EQ(co_await api.refusal("POST", "", guest),
              "500 unable to create VM 100 - VM 100 already exists on node 'pve1'");
  });
}

TEST(VmLifecycle, clonesATemplateLinkedWithAnIdentityOfItsOwn) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    co_await make_template(api);
    EXPECT_EQ(co_await api.option(100, "scsi0"), "local:100/base-100-disk-0.qcow2,size=64K");
    EXPECT_EQ(co_await api.refusal("POST", "/100/template"),
              "500 you can't convert a template to a template");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"),
              "you can't start a vm if it's a template");
    EXPECT_EQ(co_await api.task(
                  "POST", "/100/clone",
                  {{"newid", "101"}, {"name", "linked1"}, {"description", "line 1\nline 2 %"}}),
              "OK");
    EXPECT_EQ(co_await api.option(101, "scsi0"),
              "local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2,size=64K");
    EXPECT_EQ(co_await api.option(101, "description"), "line 1\nline 2 %");
    EXPECT_EQ(co_await api.option(101, "tags"), "base;inspect");
    EXPECT_NE(co_await api.option(101, "net0"), co_await api.option(100, "net0"));
    EXPECT_NE(co_await api.option(101, "smbios1"), co_await api.option(100, "smbios1"));
    EXPECT_EQ(co_await api.task("DELETE", "/100"),
              "base volume 'local:100/base-100-disk-0.qcow2' is still in use by linked cloned");
    EXPECT_EQ(co_await api.task("DELETE", "/101", {{"purge", "1"}}), "OK");
    EXPECT_EQ(co_await api.task("DELETE", "/100"), "OK");
    EXPECT_TRUE(api.vms.all().empty());
    EXPECT_FALSE(std::filesystem::exists(api.path("local:100/x").parent_path()));
  });
}

TEST(VmLifecycle, refusesABadCloneBeforeAnythingIsMade) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    EXPECT_EQ(co_await api.refusal("POST", "/100/clone", {{"newid", "151"}, {"full", "0"}}),
              "500 Linked clone feature is not supported for 'local:100/vm-100-disk-0.qcow2' "
              "(scsi0)");
    EXPECT_EQ(co_await api.refusal("POST", "/100/clone", {{"newid", "100"}}),
              "500 unable to create VM 100: config file already exists");
    EXPECT_EQ(co_await api.refusal("POST", "/999/clone", {{"newid", "160"}}),
              "500 unable to find configuration file for VM 999 on node 'pve1'");
    EXPECT_THAT(co_await api.refusal("POST", "/100/clone"),
                HasSubstr("newid: property is missing and it is not optional"));
    EXPECT_EQ(
        co_await api.refusal("POST", "/100/clone", {{"newid", "103"}, {"snapname", "nosnap"}}),
        "500 snapshot 'nosnap' does not exist");
    EXPECT_EQ(co_await api.refusal("POST", "/100/clone", {{"newid", "103"}, {"target", "other"}}),
              "500 no such cluster node 'other'");
    EXPECT_EQ(co_await api.task("POST", "/100/template"), "OK");
    EXPECT_EQ(co_await api.refusal("POST", "/100/clone", {{"newid", "103"}, {"storage", "local"}}),
              "500 parameter 'storage' not allowed for linked clones");
    EXPECT_EQ(api.vms.all().size(), 1U);
    EXPECT_EQ(co_await api.task("POST", "/100/clone",
                                {{"newid", "102"}, {"full", "1"}, {"storage", "local-lvm"}}),
              "OK");
    EXPECT_EQ(co_await api.option(102, "scsi0"), "local-lvm:102/vm-102-disk-0.qcow2,size=64K");
    EXPECT_EQ(co_await api.option(102, "name"), "Copy-of-VM-base");
  });
}

TEST(VmPower, followsTheRealServersRules) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/status/stop"), "OK") << "of a stopped VM";
    EXPECT_EQ(co_await api.task("POST", "/100/status/shutdown"), "OK") << "of a stopped VM";
    for (const auto* action : {"reboot", "suspend", "resume", "reset"}) {
      EXPECT_EQ(co_await api.refusal("POST", fmt::format("/100/status/{}", action)),
                "500 VM 100 not running");
    }
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "VM 100 already running");
    EXPECT_EQ(co_await api.refusal("DELETE", "/100"), "500 VM 100 is running - destroy failed");
    EXPECT_EQ(co_await api.task("POST", "/100/status/suspend"), "OK");
    const json::value paused = co_await api.vm("GET", "/100/status/current");
    EXPECT_EQ(json::text_at(paused, "status"), "running");
    EXPECT_EQ(json::text_at(paused, "qmpstatus"), "paused");
    EXPECT_EQ(co_await api.task("POST", "/100/status/resume"), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/status/shutdown"), "OK");
    EXPECT_EQ(co_await api.refusal("GET", "/999/status/current"),
              "500 Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist");
  });
}

TEST(VmConfigRoutes, changeWhatCanChangeAndKeepTheRestPending) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    co_await make_running_clone(api);
    co_await api.vm("PUT", "/101/config", {{"name", "two"}, {"memory", "640"}});
    EXPECT_EQ(co_await api.option(101, "name"), "two");
    EXPECT_EQ(co_await api.option(101, "memory"), "640") << "the value after the next start";
    const json::value now = co_await api.vm("GET", "/101/config", {{"current", "1"}});
    EXPECT_EQ(json::text_at(now, "memory"), "512");
    co_await api.vm("PUT", "/101/config", {{"revert", "memory"}});
    EXPECT_EQ(co_await api.option(101, "memory"), "512");

    co_await api.vm("PUT", "/101/config", {{"scsi3", "local:iso/a.iso,media=cdrom"}});
    EXPECT_EQ(api.vms.at(101)->config.current.at("scsi3"), "local:iso/a.iso,media=cdrom,size=4K");
    co_await api.vm("PUT", "/101/config", {{"scsi3", "none,media=cdrom"}});
    EXPECT_EQ(api.vms.at(101)->config.current.at("scsi3"), "none,media=cdrom");
    EXPECT_TRUE(api.vms.at(101)->config.pending.empty());

    co_await api.vm("PUT", "/101/config", {{"scsi5", "local:iso/a.iso,media=cdrom"}});
    EXPECT_TRUE(api.vms.at(101)->config.current.contains("scsi5")) << "plugged";
    co_await api.vm("PUT", "/101/config", {{"ide2", "none,media=cdrom"}});
    EXPECT_FALSE(api.vms.at(101)->config.current.contains("ide2"));
    EXPECT_TRUE(api.vms.at(101)->config.pending.contains("ide2")) << "IDE waits for the next start";
    co_await api.vm("PUT", "/101/config", {{"delete", "scsi5"}});
    EXPECT_FALSE(api.vms.at(101)->config.current.contains("scsi5"));
  });
}

TEST(VmConfigRoutes, refuseInTheRealServersWords) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    EXPECT_THAT(co_await api.refusal("PUT", "/100/config", {{"delete", "nosuch"}}),
                HasSubstr("|delete: unknown option 'nosuch'"));
    EXPECT_EQ(co_await api.refusal("PUT", "/100/config", {{"delete", "hookscript"}}), "");
    EXPECT_THAT(co_await api.refusal("PUT", "/100/config", {{"name", "x"}, {"delete", "name"}}),
                HasSubstr("you can't use '-name' and -delete name' at the same time"));
    EXPECT_EQ(co_await api.refusal("PUT", "/100/config"), "500 no options specified");
    EXPECT_EQ(co_await api.refusal("PUT", "/100/config",
                                   {{"digest", std::string(40, '0')}, {"name", "y"}}),
              "500 checksum mismatch (file change by other user?)");
    EXPECT_EQ(
        co_await api.refusal("PUT", "/100/config", {{"ide2", "local:iso/nope.iso,media=cdrom"}}),
        "500 volume 'local:iso/nope.iso' does not exist");
    EXPECT_THAT(
        co_await api.refusal("PUT", "/100/config", {{"virtio5", "local:iso/a.iso,media=cdrom"}}),
        HasSubstr("|virtio5: unable to parse drive options"));
    EXPECT_THAT(co_await api.refusal("PUT", "/100/config", {{"foo", "1"}}),
                HasSubstr("property is not defined in schema"));
  });
}

TEST(VmSnapshots, bringBackTheMomentWithItsMemory) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    co_await make_running_clone(api);
    co_await api.vm("POST", "/101/agent/file-write", {{"file", "/a"}, {"content", "before"}});
    EXPECT_EQ(co_await api.task("POST", "/101/snapshot", {{"snapname", "ram1"}, {"vmstate", "1"}}),
              "OK");
    EXPECT_EQ(co_await api.task("POST", "/101/snapshot", {{"snapname", "ram1"}}),
              "snapshot name 'ram1' already used");
    EXPECT_EQ(co_await api.refusal("POST", "/101/snapshot", {{"snapname", "current"}}),
              "500 unable to use snapshot name 'current' (reserved name)");
    EXPECT_THAT(co_await api.refusal("POST", "/101/snapshot", {{"snapname", "1bad"}}),
                HasSubstr("invalid format - invalid configuration ID '1bad'"));
    co_await api.vm("POST", "/101/agent/file-write", {{"file", "/a"}, {"content", "after"}});
    EXPECT_EQ(co_await api.task("POST", "/101/snapshot/nosuch/rollback"),
              "snapshot 'nosuch' does not exist");
    EXPECT_EQ(co_await api.task("POST", "/101/snapshot/ram1/rollback"), "OK");
    const json::value read = co_await api.vm("GET", "/101/agent/file-read", {{"file", "/a"}});
    EXPECT_EQ(json::text_at(read, "content"), "before");
    const json::value list = co_await api.vm("GET", "/101/snapshot");
    EXPECT_EQ(json::text_at(list.at(0), "name"), "ram1");
    EXPECT_EQ(json::number_at(list.at(0), "vmstate"), 1);
    EXPECT_EQ(json::text_at(list.at(1), "name"), "current");
    EXPECT_EQ(json::text_at(list.at(1), "parent"), "ram1");
    EXPECT_EQ(co_await api.task("DELETE", "/101/snapshot/ram1"), "OK");
    EXPECT_EQ(co_await api.task("DELETE", "/101/snapshot/ram1"), "snapshot 'ram1' does not exist");
  });
}

TEST(VmLocks, letOneChangeAfterTheOtherAndSayWhoHasTheLock) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    const VmPtr vm = api.vms.at(100);
    {
      const auto held = co_await api.vms.lock(vm);
      try {
        co_await api.vms.lock(vm, 20ms);
        ADD_FAILURE() << "two hold it";
      } catch (const ApiError& error) {
        EXPECT_EQ(error.message,
                  "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout");
      }
    }
    vm->config.current["lock"] = "backup";
    EXPECT_EQ(co_await api.refusal("PUT", "/100/config", {{"name", "x"}}),
              "500 VM is locked (backup)");
    EXPECT_EQ(co_await api.refusal("POST", "/100/clone", {{"newid", "101"}}),
              "500 VM is locked (backup)");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "VM is locked (backup)");
    EXPECT_EQ(co_await api.task("DELETE", "/100", {{"skiplock", "1"}}), "OK");
  });
}

/// Answers with what it got.
class Echo : public SimulatedGuest {
 public:
  ExecAnswer run(SimulatedState&, const std::vector<std::string>& argv,
                 const std::string& input) override {
    ++runs;
    return {.exit_code = 3,
            .output = fmt::format("{}", fmt::join(argv, " ")),
            .errors = input,
            .duration = std::chrono::milliseconds{argv.front() == "sleep" ? 400 : 0}};
  }
  int runs = 0;
};

TEST(VmAgent, runsACommandAndTellsItsEndOnce) {
  auto echo = std::make_shared<Echo>();
  Simulation simulation;
  simulation.guest = echo;
  with_simulated_node(
      [](VmApi& api) -> awaitable<void> {
        co_await make_running_clone(api);
        const json::value started = co_await api.vm(
            "POST", "/101/agent/exec",
            {{"command", "/bin/x"}, {"command", "a b"}, {"input-data", "\u00ff\u0000end"}});
        const std::string pid = std::to_string(json::number_at(started, "pid"));
        const json::value status = co_await api.vm("GET", "/101/agent/exec-status", {{"pid", pid}});
        EXPECT_EQ(json::number_at(status, "exited"), 1);
        EXPECT_EQ(json::number_at(status, "exitcode"), 3);
        EXPECT_EQ(json::text_at(status, "out-data"), "/bin/x a b");
        EXPECT_EQ(json::number_at(status, "out-truncated"), 0);
        EXPECT_EQ(utf8_to_latin1(json::text_at(status, "err-data")).front(), '\xff');
        EXPECT_EQ(co_await api.refusal("GET", "/101/agent/exec-status", {{"pid", pid}}),
                  "500 Agent error: Invalid parameter 'pid'");
      },
      simulation);
  EXPECT_EQ(echo->runs, 1);
}

TEST(VmAgent, waitsALittleForTheEndOfACommandThenSaysThatItRuns) {
  Simulation simulation;
  simulation.guest = std::make_shared<Echo>();
  simulation.agent_limits.patience = 50ms;
  with_simulated_node(
      [](VmApi& api) -> awaitable<void> {
        co_await make_running_clone(api);
        const json::value started =
            co_await api.vm("POST", "/101/agent/exec", {{"command", "sleep"}});
        const std::string pid = std::to_string(json::number_at(started, "pid"));
        const json::value status = co_await api.vm("GET", "/101/agent/exec-status", {{"pid", pid}});
        EXPECT_EQ(json::bj::serialize(status), "{\"exited\":0}");
      },
      simulation);
}

TEST(VmAgent, failsAsTheRealServerDoes) {
  Simulation simulation;
  simulation.boot_time = 1s;  // long enough for the first ping on a busy machine
  simulation.agent_limits = {.ping = 10ms, .command = 10ms, .broken_pipe = 10ms, .patience = 10ms};
  with_simulated_node(
      [](VmApi& api) -> awaitable<void> {
        EXPECT_EQ(co_await api.task("POST", "", guest_with("agent", "0")), "OK");
        EXPECT_EQ(co_await api.refusal("POST", "/100/agent/ping"),
                  "500 No QEMU guest agent configured");
        co_await api.vm("PUT", "/100/config", {{"agent", "1"}});
        EXPECT_EQ(co_await api.refusal("POST", "/100/agent/ping"), "500 VM 100 is not running");
        EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
        EXPECT_EQ(co_await api.refusal("POST", "/100/agent/ping"),
                  "500 QEMU guest agent is not running");
        co_await sleep_for(1100ms);
        const json::value pong = co_await api.vm("POST", "/100/agent/ping");
        EXPECT_EQ(json::bj::serialize(pong), "{\"result\":{}}");
        EXPECT_THAT(co_await api.refusal("POST", "/100/agent/exec", {{"command", ""}}),
                    HasSubstr("|command: type check ('array') failed"));
        EXPECT_EQ(co_await api.refusal("POST", "/100/agent/exec",
                                       {{"command", "echo"}, {"command", "\u2713"}}),
                  "500 VM 100 qga command 'guest-exec' failed - got timeout");
        EXPECT_THAT(co_await api.refusal("POST", "/100/agent/exec",
                                         {{"command", "cat"}, {"input-data", "\u2713"}}),
                    HasSubstr("500 Wide character in subroutine entry"));
        EXPECT_THAT(
            co_await api.refusal("POST", "/100/agent/exec",
                                 {{"command", "cat"}, {"input-data", std::string(65537, 'x')}}),
            HasSubstr("|input-data: value may only be 65536 characters long"));
        EXPECT_EQ(co_await api.refusal("GET", "/100/agent/file-read", {{"file", "/nope"}}),
                  "500 Agent error: failed to open file '/nope' (mode: 'r'): No such file or "
                  "directory");
      },
      simulation);
}

TEST(VmAgent, readsFilesInPiecesAndTellsWhetherMoreIsThere) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    co_await make_running_clone(api);
    co_await api.vm("POST", "/101/agent/file-write",
                    {{"file", "/f"}, {"content", to_base64("0123456789")}, {"encode", "0"}});
    const json::value part = co_await api.vm("GET", "/101/agent/file-read",
                                             {{"file", "/f"}, {"offset", "2"}, {"count", "3"}});
    EXPECT_EQ(json::text_at(part, "content"), "234");
    EXPECT_EQ(json::number_at(part, "bytes-read"), 3);
    EXPECT_EQ(json::number_at(part, "truncated"), 1);
    const json::value raw =
        co_await api.vm("GET", "/101/agent/file-read", {{"file", "/f"}, {"decode", "0"}});
    EXPECT_EQ(json::text_at(raw, "content"), to_base64("0123456789"));
    EXPECT_EQ(json::find(raw, "truncated"), nullptr);
  });
}

TEST(Vms, areThereAgainAfterARestartWithoutTheLocksOfDeadTasks) {
  const node::testing::TemporaryDirectory directory;
  const Simulation simulation;
  auto first = [](const std::filesystem::path& at, const Simulation& machines) -> awaitable<void> {
    VmApi api{co_await asio::this_coro::executor, at, simulated_machines(machines)};
    api.put_file("local:import/guest.qcow2", "q");
    co_await make_template(api);
    const VmPtr half = api.vms.add(101, {{"lock", "clone"}, {"description", "ours"}});
  };
  auto second = [](const std::filesystem::path& at, const Simulation& machines) -> awaitable<void> {
    VmApi api{co_await asio::this_coro::executor, at, simulated_machines(machines)};
    EXPECT_TRUE(api.vms.at(100)->is_template());
    EXPECT_EQ(co_await api.option(101, "description"), "ours");
    EXPECT_EQ(co_await api.task("DELETE", "/101"), "OK");
  };
  px::testing::run(first(directory.path(), simulation));
  px::testing::run(second(directory.path(), simulation));
}

TEST(Vms, areCheapWhenSimulated) {
  with_simulated_node([](VmApi& api) -> awaitable<void> {
    co_await make_template(api);
    for (int i = 0; i < 200; ++i) {
      const std::string id = std::to_string(1000 + i);
      EXPECT_EQ(co_await api.task("POST", "/100/clone", {{"newid", id}}), "OK");
      EXPECT_EQ(co_await api.task("POST", "/" + id + "/status/start"), "OK");
    }
    const json::value list = co_await api.vm("GET", "");
    EXPECT_EQ(list.as_array().size(), 201U);
  });
}

}  // namespace
}  // namespace px::node
