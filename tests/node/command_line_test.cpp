#include "node/vm/command_line.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::node {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

QemuHost tcg_host() {
  QemuHost host;
  host.version = "7.2.22";
  host.cpus = 4;
  host.node_name = "pve1";
  host.ovmf_code = "/fw/CODE.fd";
  return host;
}

MachineSetup small_guest() {
  MachineSetup setup;
  setup.options = {{"agent", "enabled=1"},
                   {"boot", "order=scsi0"},
                   {"cores", "2"},
                   {"cpu", "host"},
                   {"memory", "512"},
                   {"name", "one"},
                   {"scsi0", "local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2,size=2G"},
                   {"scsi3", "none,media=cdrom"},
                   {"scsihw", "virtio-scsi-pci"},
                   {"serial0", "socket"},
                   {"smbios1", "uuid=72ee71bb-835d-4505-8c05-07e1d8242c97"},
                   {"vga", "serial0"}};
  setup.volumes["local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2"] = "/i/vm.qcow2";
  return setup;
}

std::string line(const QemuHost& host, const MachineSetup& setup) {
  return fmt::format("{}", fmt::join(qemu_command_line(host, 101, setup), " "));
}

std::string refusal(const QemuHost& host, const MachineSetup& setup) {
  try {
    line(host, setup);
  } catch (const Error& error) {
    return error.said;
  }
  return "";
}

TEST(QemuCommandLine, emulatesAVmThatTurnsKvmOff) {
  auto host = tcg_host();
  host.accelerator = Accelerator::kvm;
  auto setup = small_guest();
  EXPECT_THAT(line(host, setup), HasSubstr("-accel kvm -cpu host "));
  setup.options["kvm"] = "0";
  EXPECT_THAT(line(host, setup), HasSubstr("-accel tcg,thread=single -cpu max "));
}

TEST(QemuCommandLine, describesASmallGuest) {
  EXPECT_EQ(
      line(tcg_host(), small_guest()),
      "qemu-system-x86_64 -name one,debug-threads=on -nodefaults -no-user-config -display none "
      "-machine type=pc -accel tcg,thread=single -cpu max -smp 2,sockets=1,cores=2 -m 512 "
      "-rtc base=utc -boot menu=off,strict=on -uuid 72ee71bb-835d-4505-8c05-07e1d8242c97 "
      "-chardev socket,id=qmp,path=101.qmp,server=on,wait=off -mon chardev=qmp,mode=control "
      "-chardev socket,id=serial0,path=101.serial0,server=on,wait=off "
      "-device {\"driver\":\"isa-serial\",\"chardev\":\"serial0\"} "
      "-device "
      "{\"driver\":\"virtio-scsi-pci\",\"id\":\"scsihw0\",\"bus\":\"pci.0\",\"addr\":\"0x5\"} "
      "-chardev socket,id=qga0,path=101.qga,server=on,wait=off "
      "-device "
      "{\"driver\":\"virtio-serial-pci\",\"id\":\"qga-bus\",\"bus\":\"pci.0\",\"addr\":\"0x8\"} "
      "-device {\"driver\":\"virtserialport\",\"bus\":\"qga-bus.0\",\"chardev\":\"qga0\","
      "\"name\":\"org.qemu.guest_agent.0\"} "
      "-blockdev {\"driver\":\"qcow2\",\"node-name\":\"drive-scsi0\",\"read-only\":false,"
      "\"cache\":{\"direct\":false,\"no-flush\":true},\"file\":{\"driver\":\"file\","
      "\"filename\":\"/i/vm.qcow2\",\"cache\":{\"direct\":false,\"no-flush\":true}},"
      "\"discard\":\"unmap\"} "
      "-device {\"id\":\"scsi0\",\"driver\":\"scsi-hd\",\"bus\":\"scsihw0.0\",\"channel\":0,"
      "\"scsi-id\":0,\"lun\":0,\"drive\":\"drive-scsi0\",\"bootindex\":1} "
      "-device {\"id\":\"scsi3\",\"driver\":\"scsi-cd\",\"bus\":\"scsihw0.0\",\"channel\":0,"
      "\"scsi-id\":0,\"lun\":3}");
}

struct Row {
  const char* name;
  Options options;
  const char* has;
  const char* has_not;
};

class CommandLineRows : public ::testing::TestWithParam<Row> {};

TEST_P(CommandLineRows, followTheOption) {
  MachineSetup setup = small_guest();
  for (const auto& [name, value] : GetParam().options) setup.options[name] = value;
  setup.volumes["local:100/vm-100-disk-1.raw"] = "/i/vm-100-disk-1.raw";
  setup.volumes["local:iso/a.iso"] = "/i/a.iso";
  setup.volumes["local:100/vm-100-disk-2.qcow2"] = "/i/efi.qcow2";
  const std::string text = line(tcg_host(), setup);
  EXPECT_THAT(text, HasSubstr(GetParam().has)) << GetParam().name;
  if (GetParam().has_not != nullptr) EXPECT_THAT(text, Not(HasSubstr(GetParam().has_not)));
}

INSTANTIATE_TEST_SUITE_P(
    Options, CommandLineRows,
    ::testing::Values(
        Row{"no agent, no port", {{"agent", "0"}}, "scsihw0", "guest_agent"},
        Row{"a disk that is no linked clone is flushed",
            {{"virtio1", "local:100/vm-100-disk-1.raw"}},
            "\"driver\":\"raw\",\"node-name\":\"drive-virtio1\",\"read-only\":false,"
            "\"cache\":{\"direct\":false,\"no-flush\":false}",
            nullptr},
        Row{"virtio-blk has Proxmox's address",
            {{"virtio1", "local:100/vm-100-disk-1.raw"}},
            "\"driver\":\"virtio-blk-pci\",\"bus\":\"pci.0\",\"addr\":\"0xb\"",
            nullptr},
        Row{"a medium is read-only and raw, whatever it holds",
            {{"scsi3", "local:iso/a.iso,media=cdrom"}},
            "\"driver\":\"raw\",\"node-name\":\"drive-scsi3\",\"read-only\":true",
            nullptr},
        Row{"IDE on pc", {{"ide2", "none,media=cdrom"}}, "\"bus\":\"ide.1\",\"unit\":0", nullptr},
        Row{"IDE on q35 is AHCI",
            {{"machine", "q35"}, {"ide2", "none,media=cdrom"}},
            "\"driver\":\"ide-cd\",\"bus\":\"ide.2\"",
            "unit"},
        Row{"SATA brings its controller",
            {{"sata1", "none,media=cdrom"}},
            "\"bus\":\"ahci0.1\"",
            nullptr},
        Row{"a NIC has no backend and no option ROM",
            {{"net1", "virtio=BC:24:11:00:00:01,bridge=vmbr0"}},
            "{\"driver\":\"virtio-net-pci\",\"id\":\"net1\",\"mac\":\"BC:24:11:00:00:01\","
            "\"romfile\":\"\",\"addr\":\"0x13\"}",
            "netdev"},
        Row{"UEFI",
            {{"bios", "ovmf"}, {"efidisk0", "local:100/vm-100-disk-2.qcow2"}},
            "pflash0=efi-code,pflash1=drive-efidisk0",
            "\"id\":\"efidisk0\""},
        Row{"PVE's CPU models become flags",
            {{"cpu", "x86-64-v2-AES"}},
            "-cpu qemu64,+aes,+popcnt",
            nullptr},
        Row{"Proxmox's revision of a machine type is dropped",
            {{"machine", "pc-i440fx-7.2+pve1"}},
            "type=pc-i440fx-7.2 ",
            "+pve"},
        Row{"memory as a property string", {{"memory", "current=768"}}, "-m 768 ", nullptr}));

TEST(QemuCommandLine, refusesInTheRealServersWords) {
  MachineSetup setup = small_guest();
  setup.options["cores"] = "8";
  EXPECT_EQ(refusal(tcg_host(), setup), "MAX 4 vcpus allowed per VM on this node");
  setup = small_guest();
  setup.options["machine"] = "pc-i440fx-10.0";
  EXPECT_EQ(refusal(tcg_host(), setup),
            "Installed QEMU version '7.2.22' is too old to run machine type 'pc-i440fx-10.0', "
            "please upgrade node 'pve1'");
  setup = small_guest();
  setup.volumes.clear();
  EXPECT_THAT(refusal(tcg_host(), setup), HasSubstr("does not exist"));
}

TEST(QemuCommandLine, goesOnFromASavedMemory) {
  MachineSetup setup = small_guest();
  setup.load_snapshot = "ram1";
  EXPECT_THAT(line(tcg_host(), setup), HasSubstr(" -loadvm ram1"));
}

}  // namespace
}  // namespace px::node
