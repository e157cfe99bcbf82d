// vzdump and restore through the API, with qemu-img and machines that only pretend.
#include "node/backup/archived_config.hpp"
#include "node/vm/accelerator.hpp"
#include "vm_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sys/stat.h>

namespace {

using namespace px;
using namespace px::node;
using namespace px::node::testing;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

namespace fs = std::filesystem;

/// 3 MiB that are zero but for a few bytes.
std::string disk_bytes() {
  std::string out(3U << 20, '\0');
  out.replace(0, 5, "first");
  out.replace(1'500'000, 6, "middle");
  out.replace(out.size() - 4, 4, "last");
  return out;
}

std::string qemu_img(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "qemu-img");
  const auto result = run_tool(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  return result.output;
}

std::string guest_view(VmApi& api, const std::string& volume) {
  const TemporaryDirectory directory;
  const auto path = api.path(volume);
  const auto raw = (directory.path() / "raw").string();
  qemu_img({"convert", "-f", path.extension().string().substr(1), "-O", "raw", path.string(), raw});
  std::ifstream file{raw, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

/// VM 100 with the bytes above in a qcow2 and a raw disk.
awaitable<void> make_vm(VmApi& api, Params more = {}) {
  api.put_file("local:import/d.raw", disk_bytes());
  Params params{{"vmid", "100"},
                {"name", "box"},
                {"tags", "inspect"},
                {"net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"},
                {"scsi0", "local:0,import-from=local:import/d.raw,format=qcow2"},
                {"virtio1", "local-lvm:0,import-from=local:import/d.raw"},
                {"ide2", "none,media=cdrom"}};
  params.insert(params.end(), more.begin(), more.end());
  EXPECT_EQ(co_await api.task("POST", "", std::move(params)), "OK");
}

awaitable<std::string> back_up(VmApi& api, Params params) {
  co_return co_await api.end_of(co_await api.send("POST", "/nodes/pve1/vzdump", std::move(params)));
}

awaitable<json::array> backups(VmApi& api) {
  const auto list =
      co_await api.send("GET", "/nodes/pve1/storage/local/content", {{"content", "backup"}});
  co_return list.as_array();
}

/// The volume of the only backup.
awaitable<std::string> only_backup(VmApi& api) {
  const auto list = co_await backups(api);
  EXPECT_EQ(list.size(), 1U);
  co_return list.empty() ? "" : json::text_at(list.front(), "volid");
}

struct Packing {
  const char* compress;
  const char* suffix;
  const char* format;
};
class BackupPacking : public ::testing::TestWithParam<Packing> {};

TEST_P(BackupPacking, bringsBackEveryByte) {
  const auto& packing = GetParam();
  with_disks([&packing](VmApi& api) -> awaitable<void> {
    co_await make_vm(api);
    EXPECT_EQ(co_await back_up(api, {{"vmid", "100"}, {"compress", packing.compress}}), "OK");
    const auto archive = co_await only_backup(api);
    EXPECT_THAT(archive, MatchesRegex("local:backup/vzdump-qemu-100-[0-9]+_[0-9]+_[0-9]+-[0-9]+_"
                                      "[0-9]+_[0-9]+\\.vma.*"));
    EXPECT_TRUE(archive.ends_with(packing.suffix)) << archive;
    const auto list = co_await backups(api);
    EXPECT_EQ(json::text_at(list[0], "format"), packing.format);
    EXPECT_EQ(json::text_at(list[0], "subtype"), "qemu");
    EXPECT_EQ(json::number_at(list[0], "vmid"), 100);
    EXPECT_LT(json::number_at(list[0], "size"), 200'000) << "zeros were written";
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "200"}, {"archive", archive}}), "OK");
    EXPECT_EQ(co_await api.option(200, "scsi0"), "local:200/vm-200-disk-0.qcow2,size=3M");
    EXPECT_EQ(co_await api.option(200, "virtio1"), "local-lvm:200/vm-200-disk-0.raw,size=3M");
    EXPECT_TRUE(guest_view(api, "local:200/vm-200-disk-0.qcow2") == disk_bytes());
    EXPECT_TRUE(guest_view(api, "local-lvm:200/vm-200-disk-0.raw") == disk_bytes());
    EXPECT_EQ(co_await api.option(200, "name"), "box");
    EXPECT_EQ(co_await api.option(200, "tags"), "inspect");
    EXPECT_EQ(co_await api.option(200, "ide2"), "none,media=cdrom");
    EXPECT_EQ(co_await api.option(200, "lock"), "");
    EXPECT_EQ(co_await api.option(100, "lock"), "");
  });
}
INSTANTIATE_TEST_SUITE_P(Formats, BackupPacking,
                         ::testing::Values(Packing{"0", ".vma", "vma"},
                                           Packing{"gzip", ".vma.gz", "vma.gz"},
                                           Packing{"zstd", ".vma.zst", "vma.zst"}),
                         [](const auto& row) {
                           return row.param.compress == std::string{"0"}
                                      ? std::string{"plain"}
                                      : std::string{row.param.compress};
                         });

TEST(Restore, letsTheRequestWin) {
  with_disks([](VmApi& api) -> awaitable<void> {
    co_await make_vm(api, {{"memory", "256"}});
    EXPECT_EQ(co_await back_up(api, {{"vmid", "100"}}), "OK");
    const auto archive = co_await only_backup(api);
    EXPECT_EQ(co_await api.task("POST", "",
                                {{"vmid", "200"},
                                 {"archive", archive},
                                 {"storage", "local-lvm"},
                                 {"name", "copy"},
                                 {"memory", "128"}}),
              "OK");
    EXPECT_EQ(co_await api.option(200, "name"), "copy");
    EXPECT_EQ(co_await api.option(200, "memory"), "128");
    EXPECT_EQ(co_await api.option(200, "scsi0"), "local-lvm:200/vm-200-disk-0.qcow2,size=3M");
    EXPECT_EQ(co_await api.option(200, "net0"), "virtio=BC:24:11:00:00:01,bridge=vmbr0");
    EXPECT_NE(co_await api.option(200, "vmgenid"), co_await api.option(100, "vmgenid"));
    EXPECT_EQ(co_await api.option(200, "smbios1"), co_await api.option(100, "smbios1"));
    EXPECT_EQ(
        co_await api.task("POST", "", {{"vmid", "201"}, {"archive", archive}, {"unique", "1"}}),
        "OK");
    EXPECT_THAT(co_await api.option(201, "net0"), HasSubstr(",bridge=vmbr0"));
    EXPECT_NE(co_await api.option(201, "net0"), "virtio=BC:24:11:00:00:01,bridge=vmbr0");
    EXPECT_NE(co_await api.option(201, "smbios1"), co_await api.option(100, "smbios1"));
  });
}

TEST(Restore, replacesAVmOnlyByForce) {
  with_disks([](VmApi& api) -> awaitable<void> {
    co_await make_vm(api);
    EXPECT_EQ(co_await back_up(api, {{"vmid", "100"}}), "OK");
    const Params again{{"vmid", "100"}, {"archive", co_await only_backup(api)}};
    Params forced = again;
    forced.emplace_back("force", "1");
    EXPECT_EQ(co_await api.refusal("POST", "", again),
              "500 unable to restore VM 100 - VM 100 already exists on node 'pve1'");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    EXPECT_EQ(co_await api.refusal("POST", "", forced),
              "500 unable to restore VM 100 - vm is running");
    EXPECT_EQ(co_await api.task("POST", "/100/status/stop"), "OK");
    co_await api.vm("PUT", "/100/config", {{"name", "changed"}});
    EXPECT_EQ(co_await api.task("POST", "", forced), "OK");
    EXPECT_EQ(co_await api.option(100, "name"), "box");
    EXPECT_TRUE(guest_view(api, "local:100/vm-100-disk-0.qcow2") == disk_bytes());
  });
}

TEST(Restore, keepsTheVmWhenTheArchiveIsBroken) {
  with_disks([](VmApi& api) -> awaitable<void> {
    co_await make_vm(api);
    const std::string broken = "local:backup/vzdump-qemu-100-2026_01_01-00_00_00.vma";
    api.put_file(broken, std::string(20'000, 'x'));
    EXPECT_THAT(
        co_await api.task("POST", "", {{"vmid", "100"}, {"archive", broken}, {"force", "1"}}),
        HasSubstr("this is no VMA archive"));
    EXPECT_EQ(co_await api.option(100, "lock"), "");
    EXPECT_TRUE(guest_view(api, "local:100/vm-100-disk-0.qcow2") == disk_bytes());
    EXPECT_THAT(co_await api.task("POST", "", {{"vmid", "200"}, {"archive", broken}}),
                HasSubstr("this is no VMA archive"));
    EXPECT_FALSE(api.vms.has(200));
  });
}

TEST(Restore, leavesNothingOfAnArchiveThatEndsEarly) {
  with_disks([](VmApi& api) -> awaitable<void> {
    co_await make_vm(api);
    EXPECT_EQ(co_await back_up(api, {{"vmid", "100"}}), "OK");
    const auto archive = co_await only_backup(api);
    fs::resize_file(api.path(archive), fs::file_size(api.path(archive)) - 1000);
    EXPECT_THAT(co_await api.task("POST", "", {{"vmid", "200"}, {"archive", archive}}),
                HasSubstr("VMA archive, byte "));
    EXPECT_FALSE(api.vms.has(200));
    EXPECT_FALSE(fs::exists(api.path("local:200/x").parent_path()));
  });
}

TEST(Restore, refusesWhatIsNoBackup) {
  with_node([](VmApi& api) -> awaitable<void> {
    const auto refusal = [&api](std::string archive, Params more = {}) {
      more.emplace_back("vmid", "142");
      more.emplace_back("archive", std::move(archive));
      return api.refusal("POST", "", std::move(more));
    };
    const std::string missing = "local:backup/vzdump-qemu-1-2026_01_01-00_00_00.vma";
    EXPECT_EQ(co_await refusal(missing), "500 volume '" + missing + "' does not exist");
    EXPECT_EQ(co_await refusal("/nope.vma"), "500 can't find file '/nope.vma'");
    EXPECT_EQ(co_await refusal("local:iso/a.iso"),
              "500 unable to use volume local:iso/a.iso - content type needs to be 'backup'");
    EXPECT_EQ(co_await refusal(missing, {{"scsi0", "local:1"}}),
              "400 Parameter verification failed.|scsi0: option conflicts with option 'archive'");
    api.user = "root@pam!full";
    EXPECT_EQ(co_await refusal("/nope.vma"), "500 Only root can pass arbitrary filesystem paths.");
  });
}

TEST(Restore, makesATemplateOfATemplate) {
  with_disks([](VmApi& api) -> awaitable<void> {
    co_await make_vm(api);
    EXPECT_EQ(co_await api.task("POST", "/100/template"), "OK");
    EXPECT_EQ(co_await back_up(api, {{"vmid", "100"}, {"compress", "zstd"}}), "OK");
    EXPECT_EQ(
        co_await api.task("POST", "", {{"vmid", "200"}, {"archive", co_await only_backup(api)}}),
        "OK");
    EXPECT_EQ(co_await api.option(200, "template"), "1");
    EXPECT_EQ(co_await api.option(200, "scsi0"), "local:200/base-200-disk-0.qcow2,size=3M");
    EXPECT_EQ(co_await api.task("POST", "/200/clone", {{"newid", "201"}}), "OK");
    EXPECT_TRUE(guest_view(api, "local:200/base-200-disk-0.qcow2/201/vm-201-disk-0.qcow2") ==
                disk_bytes());
  });
}

TEST(Backup, leavesOutDisksThatSaySo) {
  with_disks([](VmApi& api) -> awaitable<void> {
    co_await make_vm(api);
    co_await api.vm("PUT", "/100/config",
                    {{"virtio1", "local-lvm:100/vm-100-disk-0.raw,backup=0,size=3M"}});
    EXPECT_EQ(co_await back_up(api, {{"vmid", "100"}}), "OK");
    const auto archive = co_await only_backup(api);
    const auto config = std::string{
        (co_await api.send("GET", "/nodes/pve1/vzdump/extractconfig", {{"volume", archive}}))
            .as_string()};
    EXPECT_THAT(config, HasSubstr("name: box\n"));
    EXPECT_THAT(config, HasSubstr("#qmdump#map:scsi0:drive-scsi0:local:qcow2:\n"));
    EXPECT_THAT(config, ::testing::Not(HasSubstr("virtio1")));
    EXPECT_THAT(config, ::testing::Not(HasSubstr("lock")));
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "200"}, {"archive", archive}}), "OK");
    EXPECT_EQ(co_await api.option(200, "virtio1"), "");
  });
}

TEST(Backup, goesOnPastAVmThatFails) {
  with_disks([](VmApi& api) -> awaitable<void> {
    co_await make_vm(api);
    const auto upid = co_await api.send("POST", "/nodes/pve1/vzdump", {{"vmid", "999,100"}});
    EXPECT_EQ(co_await api.end_of(upid), "job errors");
    const auto log = boost::json::serialize(co_await api.send(
        "GET", "/nodes/pve1/tasks/" + std::string{upid.as_string()} + "/log", {{"limit", "0"}}));
    EXPECT_THAT(log, HasSubstr("ERROR: Backup of VM 999 failed - unable to find VM '999'"));
    EXPECT_EQ((co_await backups(api)).size(), 1U);
  });
}

TEST(Backup, takesRunningVmsInEachMode) {
  with_disks([](VmApi& api) -> awaitable<void> {
    co_await make_vm(api);
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    for (const auto* mode : {"snapshot", "suspend", "stop"}) {
      SCOPED_TRACE(mode);
      EXPECT_EQ(co_await back_up(api, {{"vmid", "100"}, {"mode", mode}}), "OK");
      const auto status = co_await api.vm("GET", "/100/status/current");
      EXPECT_EQ(json::text_at(status, "qmpstatus"), "running");
    }
    EXPECT_EQ((co_await backups(api)).size(), 3U);
  });
}

/// A real QEMU whose guest finds nothing to boot: only its disks matter.
TEST(Backup, copiesTheDisksOfARunningQemu) {
  const TemporaryDirectory directory;
  QemuHost host;
  host.version = installed_qemu_version(host.binary);
  host.cpus = 1;
  host.node_name = "pve1";
  host.run_directory = directory.path() / "run";
  auto body = [](const fs::path& at, const QemuHost& about) -> awaitable<void> {
    const auto executor = co_await asio::this_coro::executor;
    VmApi api{executor, at, qemu_machines(executor, about)};
    co_await make_vm(api, {{"memory", "64"}, {"scsihw", "virtio-scsi-pci"}});
    EXPECT_EQ(co_await api.task("PUT", "/100/resize", {{"disk", "scsi0"}, {"size", "40M"}}), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    EXPECT_EQ(co_await back_up(api, {{"vmid", "100"}, {"compress", "zstd"}}), "OK");
    // Its jobs and files are gone: it can be done again.
    EXPECT_EQ(co_await back_up(api, {{"vmid", "100"}, {"mode", "suspend"}}), "OK");
    const auto status = co_await api.vm("GET", "/100/status/current");
    EXPECT_EQ(json::text_at(status, "qmpstatus"), "running");
    co_await api.vms.stop_all();
    const auto list = co_await backups(api);
    EXPECT_EQ(list.size(), 2U);
    auto wanted = disk_bytes();
    wanted.resize(40U << 20, '\0');
    for (int vmid = 200; const auto& item : list) {
      EXPECT_EQ(co_await api.task(
                    "POST", "",
                    {{"vmid", std::to_string(vmid)}, {"archive", json::text_at(item, "volid")}}),
                "OK");
      EXPECT_TRUE(guest_view(api, fmt::format("local:{0}/vm-{0}-disk-0.qcow2", vmid)) == wanted);
      ++vmid;
    }
    EXPECT_TRUE(fs::is_empty(api.spool_folder()));
  };
  px::testing::run(body(directory.path(), host));
}

TEST(Backup, refusesWhatItCannotDo) {
  with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "100"}}), "OK");
    EXPECT_THAT(co_await back_up(api, {{"vmid", "100"}, {"storage", "local-lvm"}}),
                HasSubstr("could not get storage information for 'local-lvm'"));
    const auto refused = [&api](Params params) {
      return api.refused("POST", "/nodes/pve1/vzdump", std::move(params));
    };
    EXPECT_THAT(co_await refused({}), HasSubstr("400 Parameter verification failed.|vmid: "));
    EXPECT_THAT(co_await refused({{"vmid", "x"}}),
                HasSubstr("|vmid: invalid format - value does not look like a valid VM ID"));
    EXPECT_THAT(co_await refused({{"vmid", "100"}, {"compress", "lzo"}}), HasSubstr("501 "));
    EXPECT_EQ(co_await api.refused("GET", "/nodes/pve1/vzdump/extractconfig",
                                   {{"volume", "local:iso/a.iso"}}),
              "500 unable to use volume local:iso/a.iso - content type needs to be 'backup'");
  });
}

TEST(Backup, keepsNotesAndProtection) {
  with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(
        co_await api.task("POST", "", {{"vmid", "100"}, {"name", "box"}, {"scsi0", "local:8"}}),
        "OK");
    EXPECT_EQ(co_await back_up(api, {{"vmid", "100"},
                                     {"storage", "local"},
                                     {"notes-template", "{{guestname}} ({{vmid}}) on {{node}}"},
                                     {"protected", "1"}}),
              "OK");
    const auto archive = co_await only_backup(api);
    const auto list = co_await backups(api);
    EXPECT_EQ(json::text_at(list[0], "notes"), "box (100) on pve1");
    EXPECT_EQ(json::number_at(list[0], "protected"), 1);
    const auto volume = "/nodes/pve1/storage/local/content/" + archive;
    EXPECT_EQ(co_await api.end_of(co_await api.send("DELETE", volume)),
              fmt::format("cannot remove protected archive '{}'", api.path(archive).string()));
    co_await api.send("PUT", volume, {{"protected", "0"}, {"notes", "mine"}});
    EXPECT_EQ(json::text_at(co_await api.send("GET", volume), "notes"), "mine");
    EXPECT_EQ(co_await api.end_of(co_await api.send("DELETE", volume)), "OK");
    EXPECT_TRUE((co_await backups(api)).empty());
    EXPECT_TRUE(fs::is_empty(api.path(archive).parent_path()));
  });
}

TEST(Restore, takesAConfigurationOfProxmoxItself) {
  const std::string text =
      "#first line\n#second %23\nagent: 1\nargs: -device x\nboot: order=scsi0\ncores: 2\n"
      "cpu: host\nmemory: 2048\nmeta: creation-qemu=9.0.2,ctime=1700000000\nname: web\n"
      "net0: virtio=BC:24:11:AA:BB:CC,bridge=vmbr0,firewall=1\nparent: snap1\n"
      "scsi0: local-lvm:vm-105-disk-0,iothread=1,size=32G\nscsihw: virtio-scsi-single\n"
      "smbios1: uuid=af0d5e7d-05c7-4585-9ee1-4d2445ac93fb\nunused0: local-lvm:vm-105-disk-1\n"
      "#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\n[snap1]\nmemory: 1\n";
  const auto config = parse_archived_config(text);
  EXPECT_EQ(config.options.at("description"), "first line\nsecond #\n");
  EXPECT_EQ(config.options.at("memory"), "2048");
  EXPECT_FALSE(config.options.contains("parent"));
  EXPECT_FALSE(config.options.contains("unused0"));
  EXPECT_THAT(config.left_out, ::testing::Not(::testing::Contains("meta")));
  ASSERT_EQ(config.drives.size(), 1U);
  EXPECT_EQ(config.drives[0].device, "drive-scsi0");
  EXPECT_EQ(config.drives[0].format, "raw");
}

TEST(Restore, takesNoOptionThatARequestCouldNotSet) {
  EXPECT_THROW(parse_archived_config("cores: many\n"), ApiError);
  EXPECT_THROW(parse_archived_config("serial0: /etc/passwd\n"), ApiError);
  EXPECT_THROW(parse_archived_config("#qmdump#map:floppy0:drive-floppy0:local:raw:\n"), Error);
  EXPECT_THROW(parse_archived_config("no option\n"), Error);
}

}  // namespace
