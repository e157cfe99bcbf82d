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
  host.firmware.standard.code = "/fw/CODE.fd";
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
        Row{"memory as a property string", {{"memory", "current=768"}}, "-m 768 ", nullptr},
        Row{"vcpus are plugged of those that there are",
            {{"vcpus", "1"}},
            "-smp 1,sockets=1,cores=2,maxcpus=2 ",
            nullptr},
        Row{"args come last, split as a shell does",
            {{"args", R"(-global 'a b=c d' -smbios "type=0,vendor=x\"y" -x\ y)"}},
            "-global a b=c d -smbios type=0,vendor=x\"y -x y",
            nullptr},
        Row{"a balloon only when it is asked for",
            {{"balloon", "256"}},
            "\"driver\":\"virtio-balloon-pci\",\"id\":\"balloon0\",\"bus\":\"pci.0\","
            "\"addr\":\"0x3\"",
            nullptr},
        Row{"no balloon", {{"balloon", "0"}}, "scsihw0", "balloon"},
        Row{"the display's memory",
            {{"vga", "std,memory=32"}},
            "\"driver\":\"VGA\",\"id\":\"vga\",\"bus\":\"pci.0\",\"addr\":\"0x2\",\"vgamem_mb\":32",
            nullptr},
        Row{"qxl",
            {{"vga", "type=qxl,memory=16"}},
            "\"driver\":\"qxl-vga\",\"id\":\"vga\",\"bus\":\"pci.0\",\"addr\":\"0x2\",\"vgamem_"
            "mb\":16,"
            "\"ram_size_mb\":64,\"vram_size_mb\":32",
            nullptr},
        Row{"virtio display", {{"vga", "virtio"}}, "\"driver\":\"virtio-vga\"", "vgamem_mb"},
        Row{"cirrus", {{"vga", "cirrus"}}, "\"driver\":\"cirrus-vga\"", nullptr},
        Row{"no display", {{"vga", "none"}}, "scsihw0", "\"id\":\"vga\""},
        Row{"flags of the CPU",
            {{"cpu", "cputype=qemu64,flags=+aes;-pcid,hidden=1,phys-bits=40"}},
            "-cpu qemu64,+aes,-pcid,kvm=off,phys-bits=40 ",
            nullptr},
        Row{"NUMA: a node for each socket",
            {{"numa", "1"}, {"sockets", "2"}, {"cores", "2"}, {"memory", "1024"}},
            "-m 1024 -object memory-backend-ram,id=ram-node0,size=512M -numa "
            "node,nodeid=0,cpus=0-1,memdev=ram-node0 -object "
            "memory-backend-ram,id=ram-node1,size=512M -numa "
            "node,nodeid=1,cpus=2-3,memdev=ram-node1 ",
            nullptr},
        Row{"NUMA as described",
            {{"numa", "1"}, {"numa0", "cpus=0;1,memory=512"}},
            "-object memory-backend-ram,id=ram-node0,size=512M -numa "
            "node,nodeid=0,cpus=0,cpus=1,memdev=ram-node0 ",
            nullptr},
        Row{"a tablet brings its controller",
            {{"tablet", "1"}},
            "{\"driver\":\"piix3-usb-uhci\",\"id\":\"usb\",\"bus\":\"pci.0\",\"addr\":\"0x1c\"} "
            "-device "
            "{\"driver\":\"usb-tablet\",\"id\":\"tablet\",\"bus\":\"usb.0\",\"port\":\"1\"}",
            nullptr},
        Row{"the clock starts where it is told",
            {{"startdate", "2006-06-17T16:01:21"}},
            "-rtc base=2006-06-17T16:01:21 ",
            nullptr},
        Row{"Windows has local time", {{"ostype", "win10"}}, "-rtc base=localtime ", nullptr},
        Row{"local time",
            {{"localtime", "1"}, {"tdf", "1"}},
            "-rtc base=localtime,driftfix=slew ",
            nullptr},
        Row{"sound",
            {{"audio0", "device=ich9-intel-hda"}},
            "-audiodev none,id=audio0-backend -device "
            "{\"driver\":\"ich9-intel-hda\",\"id\":\"audiodev0\",\"bus\":\"pci.0\",\"addr\":"
            "\"0x1b\"} -device "
            "{\"driver\":\"hda-micro\",\"id\":\"audiodev0-codec0\",\"bus\":\"audiodev0.0\",\"cad\":"
            "0,"
            "\"audiodev\":\"audio0-backend\"}",
            nullptr},
        Row{"watchdog",
            {{"watchdog", "i6300esb,action=poweroff"}},
            "{\"driver\":\"i6300esb\",\"bus\":\"pci.0\",\"addr\":\"0x4\"} -watchdog-action "
            "poweroff",
            nullptr},
        Row{"keyboard", {{"keyboard", "de-ch"}}, "-k de-ch ", nullptr},
        Row{"SMBIOS, with its commas doubled",
            {{"smbios1", "base64=1,manufacturer=QSxC,uuid=72ee71bb-835d-4505-8c05-07e1d8242c97"}},
            "-uuid 72ee71bb-835d-4505-8c05-07e1d8242c97 -smbios type=1,manufacturer=A,,B ",
            nullptr},
        Row{"a second LSI controller",
            {{"scsihw", "lsi"}, {"scsi8", "local:100/vm-100-disk-1.raw"}},
            "{\"id\":\"scsi8\",\"driver\":\"scsi-hd\",\"bus\":\"scsihw1.0\",\"scsi-id\":1,",
            nullptr},
        Row{"pvscsi",
            {{"scsihw", "pvscsi"}},
            "{\"id\":\"scsi0\",\"driver\":\"scsi-hd\",\"bus\":\"scsihw0.0\",\"scsi-id\":0,",
            nullptr},
        Row{"megasas",
            {{"scsihw", "megasas"}},
            "{\"driver\":\"megasas\",\"id\":\"scsihw0\"",
            nullptr},
        Row{"caches of a disk",
            {{"sata0", "local:100/vm-100-disk-1.raw,cache=directsync,discard=ignore"}},
            "\"node-name\":\"drive-sata0\",\"read-only\":false,\"cache\":{\"direct\":true,"
            "\"no-flush\":false},\"file\":{\"driver\":\"file\",\"filename\":\"/i/"
            "vm-100-disk-1.raw\","
            "\"cache\":{\"direct\":true,\"no-flush\":false}}} -device "
            "{\"id\":\"sata0\",\"driver\":\"ide-hd\",\"bus\":\"ahci0.0\",\"drive\":\"drive-sata0\","
            "\"write-cache\":\"off\"}",
            nullptr},
        Row{"what a disk says of itself",
            {{"scsi1",
              "local:100/vm-100-disk-1.raw,serial=a%20b,ssd=1,vendor=ACME,"
              "wwn=0x5000c50015ea71aa"}},
            "\"serial\":\"a "
            "b\",\"vendor\":\"ACME\",\"wwn\":5764824127192592810,\"rotation_rate\":1}",
            nullptr},
        Row{"a thread for a disk",
            {{"virtio0", "local:100/vm-100-disk-1.raw,iothread=1"}},
            "-object iothread,id=iothread-virtio0 ",
            nullptr},
        Row{"a thread for the SCSI disks",
            {{"scsihw", "virtio-scsi-single"}, {"scsi1", "local:100/vm-100-disk-1.raw,iothread=1"}},
            "-object iothread,id=iothread-scsihw0 -device {\"driver\":\"virtio-scsi-pci\",\"id\":"
            "\"scsihw0\",\"bus\":\"pci.0\",\"addr\":\"0x5\",\"iothread\":\"iothread-scsihw0\"}",
            nullptr},
        Row{"a read-only disk",
            {{"virtio0", "local:100/vm-100-disk-1.raw,ro=1"}},
            "\"node-name\":\"drive-virtio0\",\"read-only\":true",
            nullptr},
        Row{"more than one serial port",
            {{"serial2", "socket"}},
            "-chardev socket,id=serial2,path=101.serial2,server=on,wait=off",
            nullptr},
        Row{"without ACPI", {{"acpi", "0"}}, "-machine type=pc,acpi=off ", nullptr},
        Row{"sleep states",
            {{"machine", "q35,enable-s3=1,enable-s4=0"}},
            "-global ICH9-LPC.disable_s3=0 -global ICH9-LPC.disable_s4=1",
            nullptr},
        Row{"no reboot, paused at its start",
            {{"reboot", "0"}, {"freeze", "1"}},
            " -no-reboot -S ",
            nullptr},
        Row{"on some of the host's CPUs",
            {{"affinity", "0,2-3"}},
            "taskset --cpu-list 0,2-3 qemu-system-x86_64 -name",
            nullptr}));

TEST(QemuCommandLine, namesTheOptionThatItCantGive) {
  const std::map<std::string, std::pair<std::string, std::string>> refused{
      {"hostpci0", {"0000:01:00.0", "hostpci0"}},
      {"usb3", {"host=046d:c52b", "usb3"}},
      {"serial1", {"/dev/ttyS0", "serial1"}},
      {"parallel0", {"/dev/parport0", "parallel0"}},
      {"hugepages", {"2", "hugepages"}},
      {"ivshmem", {"size=32", "ivshmem"}},
      {"virtiofs0", {"share", "virtiofs0"}},
      {"amd-sev", {"std", "amd-sev"}},
      {"hookscript", {"local:snippets/hook.pl", "hookscript"}},
      {"vga", {"virtio-gl", "vga=virtio-gl"}},
      {"machine", {"q35,viommu=intel", "machine: viommu"}},
      {"numa0", {"cpus=0,hostnodes=0,memory=512", "numa0: hostnodes"}},
      {"arch", {"aarch64", "arch"}},
      {"scsi0", {"local:1/vm-1-disk-0.raw,snapshot=1", "scsi0: snapshot"}}};
  for (const auto& [name, given] : refused) {
    MachineSetup setup = small_guest();
    setup.options[name] = given.first;
    EXPECT_THAT(
        refusal(tcg_host(), setup),
        ::testing::StartsWith("the local node can't start a VM with '" + given.second + "'"))
        << name;
  }
  MachineSetup setup = small_guest();
  setup.options["usb0"] = "spice";
  EXPECT_EQ(refusal(tcg_host(), setup), "") << "a port that nothing is put in";
}

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
