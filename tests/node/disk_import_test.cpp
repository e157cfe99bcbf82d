// `import-from`: OVA members, other VMs' disks, paths; with qemu-img and machines that only
// pretend.
#include "support/process.hpp"
#include "tar_files.hpp"
#include "vm_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using namespace px;
using namespace px::node;
using namespace px::node::testing;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

const std::string scsi0_from = "local:0,import-from=";

std::string read_file(const fs::path& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

void qemu_img(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "qemu-img");
  const auto result = run_tool(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.errors;
}

/// A disk's bytes: 1 MiB that differs at both ends.
std::string disk_bytes() {
  std::string out(1U << 20, '\0');
  out.replace(0, 5, "first");
  out.replace(out.size() - 4, 4, "last");
  return out;
}

/// The bytes as an image of `format`, `options` as for qemu-img's -o.
std::string image_of(const std::string& bytes, const std::string& format,
                     const std::string& options = "") {
  const TemporaryDirectory directory;
  std::ofstream{directory.path() / "raw", std::ios::binary} << bytes;
  std::vector<std::string> arguments{"convert", "-f", "raw", "-O", format};
  if (!options.empty()) arguments.insert(arguments.end(), {"-o", options});
  arguments.insert(arguments.end(),
                   {(directory.path() / "raw").string(), (directory.path() / "image").string()});
  qemu_img(arguments);
  return read_file(directory.path() / "image");
}

/// What a guest would read from a volume.
std::string guest_view(VmApi& api, const std::string& volume) {
  const TemporaryDirectory directory;
  const auto path = api.path(volume);
  qemu_img({"convert", "-f", path.extension().string().substr(1), "-O", "raw", path.string(),
            (directory.path() / "raw").string()});
  return read_file(directory.path() / "raw");
}

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> out;
  if (!fs::exists(folder)) return out;
  for (const auto& entry : fs::directory_iterator{folder}) {
    out.push_back(entry.path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

TEST(DiskImport, takesADiskOutOfAnOva) {
  with_disks([](VmApi& api) -> awaitable<void> {
    api.put_file(
        "local:import/box.ova",
        make_tar({{"box.ovf", "<Envelope/>"},
                  {"d.vmdk", image_of(disk_bytes(), "vmdk", "subformat=streamOptimized")}}));
    EXPECT_EQ(
        co_await api.task(
            "POST", "",
            {{"vmid", "140"}, {"scsi0", scsi0_from + "local:import/box.ova/d.vmdk,format=qcow2"}}),
        "OK");
    EXPECT_EQ(co_await api.option(140, "scsi0"), "local:140/vm-140-disk-0.qcow2,size=1M");
    EXPECT_TRUE(guest_view(api, "local:140/vm-140-disk-0.qcow2") == disk_bytes());
    EXPECT_EQ(files_in(api.path("local:140/x").parent_path()),
              std::vector<std::string>{"vm-140-disk-0.qcow2"});
  });
}

TEST(DiskImport, unpacksWhereItIsToldTo) {
  with_disks([](VmApi& api) -> awaitable<void> {
    api.put_file("local:import/box.ova", make_tar({{"d.qcow2", image_of(disk_bytes(), "qcow2")}}));
    const std::string scsi0 = "local-lvm:0,import-from=local:import/box.ova/d.qcow2";
    EXPECT_EQ(co_await api.task(
                  "POST", "",
                  {{"vmid", "140"}, {"scsi0", scsi0}, {"import-working-storage", "local-lvm"}}),
              "OK");
    EXPECT_TRUE(guest_view(api, "local-lvm:140/vm-140-disk-0.qcow2") == disk_bytes());
    EXPECT_FALSE(fs::exists(api.path("local:140/x").parent_path()));
    EXPECT_EQ(
        co_await api.refusal(
            "POST", "", {{"vmid", "141"}, {"scsi0", scsi0}, {"import-working-storage", "nope"}}),
        "500 storage 'nope' does not exist");
  });
}

TEST(DiskImport, leavesNothingOfAMemberThatIsNotThere) {
  with_disks([](VmApi& api) -> awaitable<void> {
    api.put_file("local:import/box.ova",
                 make_tar({{"d.vmdk", "x"}, {"l.vmdk", "", "/etc/passwd"}}));
    const auto end = [&](std::string source) {
      return api.task("POST", "", {{"vmid", "141"}, {"scsi0", scsi0_from + source}});
    };
    EXPECT_EQ(co_await end("local:import/box.ova/nope.vmdk"),
              "unable to create VM 141 - error during extraction: tar: nope.vmdk: Not found in "
              "archive");
    EXPECT_EQ(co_await end("local:import/box.ova/l.vmdk"),
              "unable to create VM 141 - error during extraction: extracted file 'l.vmdk' from "
              "archive 'box.ova' is not a regular file");
    EXPECT_THAT(co_await end("local:import/none.ova/d.vmdk"),
                HasSubstr("unable to create VM 141 - failed to stat '"));
    api.put_file("local:import/bad.ova", "no tar at all, but long enough to be looked at");
    EXPECT_THAT(co_await end("local:import/bad.ova/d.vmdk"),
                HasSubstr("unable to create VM 141 - error during extraction: "));
    EXPECT_FALSE(fs::exists(api.path("local:141/x").parent_path()));
  });
}

TEST(DiskImport, refusesWhatIsNoDiskBeforeTheTask) {
  with_node([](VmApi& api) -> awaitable<void> {
    const auto refusal = [&](std::string source) {
      return api.refusal("POST", "", {{"vmid", "141"}, {"scsi0", scsi0_from + source}});
    };
    EXPECT_EQ(co_await refusal("local:import/box.ova"),
              "500 volume 'local:import/box.ova' - not a QEMU image format 'ova'");
    EXPECT_EQ(co_await refusal("local:iso/a.iso"),
              "400 Parameter verification failed.|scsi0: local:iso/a.iso has wrong type 'iso' - "
              "needs to be 'images' or 'import'");
    EXPECT_EQ(co_await refusal("nope:import/a.qcow2"), "500 storage 'nope' does not exist");
  });
}

struct Untrusted {
  const char* phrase;
  const char* file;
  std::string bytes;
};

TEST(DiskImport, followsNoNameInAnImageFromOutside) {
  std::string empty_sparse(1024, '\0');
  empty_sparse.replace(0, 4, "KDMV");
  const TemporaryDirectory directory;
  const auto backed = (directory.path() / "backed.qcow2").string();
  qemu_img({"create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", backed, "1M"});
  const std::vector<Untrusted> rows{
      {"a VMDK descriptor with an extent", "a.vmdk",
       "# Disk "
       "DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
       "RW 8 FLAT \"/etc/passwd\" 0\n"},
      {"a sparse VMDK whose descriptor counts", "b.vmdk", empty_sparse},
      {"a qcow2 with a base", "c.qcow2", read_file(backed)}};
  with_disks([&rows](VmApi& api) -> awaitable<void> {
    for (const auto& row : rows) {
      SCOPED_TRACE(row.phrase);
      api.put_file(fmt::format("local:import/{}", row.file), row.bytes);
      EXPECT_EQ(
          co_await api.task(
              "POST", "",
              {{"vmid", "141"}, {"scsi0", fmt::format("{}local:import/{}", scsi0_from, row.file)}}),
          fmt::format("unable to create VM 141 - image '{}' is not trusted: it refers to "
                      "another file",
                      row.file));
    }
  });
}

TEST(DiskImport, copiesAnotherVmsDiskWithItsBase) {
  with_disks([](VmApi& api) -> awaitable<void> {
    api.put_file("local:import/d.qcow2", image_of(disk_bytes(), "qcow2"));
    EXPECT_EQ(co_await api.task("POST", "",
                                {{"vmid", "100"}, {"scsi0", scsi0_from + "local:import/d.qcow2"}}),
              "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/template"), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/clone", {{"newid", "101"}}), "OK");
    const std::string clone = "local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2";
    EXPECT_EQ(co_await api.task("POST", "",
                                {{"vmid", "102"}, {"scsi0", "local-lvm:0,import-from=" + clone}}),
              "OK");
    EXPECT_EQ(co_await api.option(102, "scsi0"), "local-lvm:102/vm-102-disk-0.qcow2,size=1M");
    EXPECT_TRUE(guest_view(api, "local-lvm:102/vm-102-disk-0.qcow2") == disk_bytes());
    EXPECT_EQ(co_await api.task("POST", "/101/status/start"), "OK");
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "103"}, {"scsi0", scsi0_from + clone}}),
              "unable to create VM 103 - the local node does not copy the disks of a running VM");
  });
}

TEST(DiskImport, readsAnyPathForRootOnly) {
  const TemporaryDirectory directory;
  const auto path = (directory.path() / "d.qcow2").string();
  std::ofstream{path, std::ios::binary} << image_of(disk_bytes(), "qcow2");
  with_disks([&path](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "141"}, {"scsi0", scsi0_from + path}}), "OK");
    // A bare path becomes raw (exchange 16).
    EXPECT_EQ(co_await api.option(141, "scsi0"), "local:141/vm-141-disk-0.raw,size=1M");
    EXPECT_TRUE(guest_view(api, "local:141/vm-141-disk-0.raw") == disk_bytes());
    api.user = "root@pam!full";
    EXPECT_EQ(co_await api.refusal("POST", "", {{"vmid", "142"}, {"scsi0", scsi0_from + path}}),
              "500 Only root can pass arbitrary filesystem paths.");
  });
}

TEST(DiskImport, worksForAVmThatIsThere) {
  with_disks([](VmApi& api) -> awaitable<void> {
    api.put_file("local:import/d.qcow2", image_of(disk_bytes(), "qcow2"));
    const std::string request = scsi0_from + "local:import/d.qcow2";
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "100"}}), "OK");
    co_await api.vm("PUT", "/100/config", {{"scsi0", request}});
    EXPECT_EQ(co_await api.task("POST", "/100/config", {{"virtio1", request}}), "OK");
    EXPECT_EQ(co_await api.option(100, "scsi0"), "local:100/vm-100-disk-0.qcow2,size=1M");
    EXPECT_EQ(co_await api.option(100, "virtio1"), "local:100/vm-100-disk-1.qcow2,size=1M");
    EXPECT_EQ(co_await api.task("PUT", "/100/resize", {{"disk", "scsi0"}, {"size", "+1M"}}), "OK");
    EXPECT_EQ(guest_view(api, "local:100/vm-100-disk-0.qcow2").size(), 2U << 20);
    co_await api.vm("PUT", "/100/config", {{"delete", "scsi0"}});
    EXPECT_EQ(co_await api.option(100, "unused0"), "local:100/vm-100-disk-0.qcow2");
    co_await api.vm("PUT", "/100/config", {{"scsi2", "local:100/vm-100-disk-0.qcow2"}});
    EXPECT_EQ(co_await api.option(100, "unused0"), "") << "it is used again";
    co_await api.vm("PUT", "/100/unlink", {{"idlist", "virtio1"}, {"force", "1"}});
    EXPECT_EQ(files_in(api.path("local:100/x").parent_path()),
              std::vector<std::string>{"vm-100-disk-0.qcow2"});
  });
}

TEST(DiskImport, keepsTheDiskThatItReplaces) {
  with_disks([](VmApi& api) -> awaitable<void> {
    api.put_file("local:import/d.qcow2", image_of(disk_bytes(), "qcow2"));
    const std::string request = scsi0_from + "local:import/d.qcow2";
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "100"}, {"scsi0", request}}), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/config", {{"scsi0", request}}), "OK");
    EXPECT_EQ(co_await api.option(100, "scsi0"), "local:100/vm-100-disk-1.qcow2,size=1M");
    EXPECT_EQ(co_await api.option(100, "unused0"), "local:100/vm-100-disk-0.qcow2");
  });
}

TEST(DiskImport, undoesTheDisksOfAChangeThatFails) {
  with_disks([](VmApi& api) -> awaitable<void> {
    api.put_file("local:import/d.qcow2", image_of(disk_bytes(), "qcow2"));
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "100"}}), "OK");
    EXPECT_THAT(co_await api.task("POST", "/100/config",
                                  {{"scsi0", scsi0_from + "local:import/d.qcow2"},
                                   {"scsi1", scsi0_from + "local:import/nope.qcow2"}}),
                HasSubstr("failed to stat '"));
    EXPECT_EQ(co_await api.option(100, "scsi0"), "");
    EXPECT_EQ(files_in(api.path("local:100/x").parent_path()), std::vector<std::string>{});
  });
}

const std::string box_ovf = R"(<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:vmw="http://www.vmware.com/schema/ovf"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="f1" ovf:href="d.vmdk" ovf:size="1"/></References>
 <DiskSection><Info/><Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="16"
   ovf:capacityAllocationUnits="byte * 2^20"/></DiskSection>
 <VirtualSystem ovf:id="box">
  <Name>my box!</Name>
  <OperatingSystemSection ovf:id="101"><Info/></OperatingSystemSection>
  <VirtualHardwareSection>
   <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
     <rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
   <Item><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
     <rasd:VirtualQuantity>64</rasd:VirtualQuantity></Item>
   <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
   <Item><rasd:AddressOnParent>0</rasd:AddressOnParent>
     <rasd:HostResource>ovf:/disk/d1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID>
     <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
   <Item><rasd:InstanceID>5</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
     <rasd:ResourceType>10</rasd:ResourceType></Item>
   <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
  </VirtualHardwareSection>
 </VirtualSystem>
</Envelope>)";

TEST(ImportMetadata, saysWhatVmAnOvaHolds) {
  with_node([](VmApi& api) -> awaitable<void> {
    api.put_file("local:import/box.ova", make_tar({{"box.ovf", box_ovf}, {"d.vmdk", "x"}}));
    const json::value expected = json::parse(R"({
      "type": "vm", "source": "import/box.ova",
      "create-args": {"name": "my-box", "cores": "2", "memory": "64", "ostype": "l26",
                      "bios": "ovmf", "boot": "order=scsi0"},
      "disks": {"scsi0": {"volid": "local:import/box.ova/d.vmdk", "size": 16777216},
                "efidisk0": 1},
      "net": {"net0": {"model": "vmxnet3"}},
      "warnings": [{"type": "ova-needs-extracting"},
                   {"type": "efi-state-lost", "key": "bios", "value": "ovmf"}]})",
                                             "expected");
    EXPECT_EQ(co_await api.send("GET", "/nodes/pve1/storage/local/import-metadata",
                                {{"volume", "import/box.ova"}}),
              expected);
  });
}

TEST(ImportMetadata, refusesWhatIsNoOva) {
  with_node([](VmApi& api) -> awaitable<void> {
    const auto refused = [&](std::string volume) {
      return api.refused("GET", "/nodes/pve1/storage/local/import-metadata",
                         {{"volume", std::move(volume)}});
    };
    EXPECT_EQ(co_await refused("local:import/box.ova"),
              "500 unable to parse directory volume name 'local:import/box.ova'");
    EXPECT_EQ(co_await refused("import/guest.qcow2"), "500 invalid format");
  });
}

}  // namespace
