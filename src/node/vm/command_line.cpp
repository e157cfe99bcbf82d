#include "node/vm/command_line.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace px::node {

namespace {

[[noreturn]] void refuse(std::string text) {
  throw Error{Errc::rejected, std::move(text)};
}

/// PCI slots as Proxmox VE gives them (qemu-server PCI.pm), so that a plugged device keeps its
/// place after a restart and a memory snapshot finds the same machine.
constexpr int vga_slot = 0x2;
constexpr int scsi_slot = 0x5;
constexpr int rng_slot = 0x6;
constexpr int sata_slot = 0x7;
constexpr int serial_slot = 0x8;
constexpr int first_block_slot = 0xa;
constexpr int block_slots = 8;
constexpr int first_nic_slot = 0x12;
constexpr int nic_slots = 8;

std::string slot(int number) {
  return fmt::format("{:#x}", number);
}

std::string pci_bus(const Options& options) {
  return is_q35(options) ? "pcie.0" : "pci.0";
}

/// `10.0` of `pc-i440fx-10.0+pve1`, as numbers; nothing for `pc` and `q35`.
std::optional<std::pair<int, int>> version_in(std::string_view text) {
  const auto dash = text.rfind('-');
  const auto start = dash == std::string_view::npos ? 0 : dash + 1;
  std::pair<int, int> version;
  const char* const end = text.data() + text.size();
  const auto major = std::from_chars(text.data() + start, end, version.first);
  if (major.ec != std::errc{} || major.ptr == end || *major.ptr != '.') return std::nullopt;
  if (std::from_chars(major.ptr + 1, end, version.second).ec != std::errc{}) return std::nullopt;
  return version;
}

std::string machine_type(const QemuHost& host, const Options& options) {
  const Properties machine{option_or(options, "machine", "pc")};
  std::string type = machine.get("", machine.get("type", "pc"));
  type = type.substr(0, type.find('+'));  // Proxmox's own revisions of a type
  const auto wanted = version_in(type);
  if (wanted && wanted > version_in(host.version)) {
    refuse(
        fmt::format("Installed QEMU version '{}' is too old to run machine type '{}', please "
                    "upgrade node '{}'",
                    host.version, type, host.node_name));
  }
  return type;
}

/// One thread for all CPUs under emulation. With a thread each, QEMU 7.2 now and then runs a stale
/// translation of code that another CPU just patched, and a Linux 6.12 guest of two CPUs dies at
/// boot ("Oops: int3", one of seven boots on a loaded host; none of 14 with one thread).
std::string_view accelerator_option(Accelerator accelerator) {
  return accelerator == Accelerator::kvm ? "kvm" : "tcg,thread=single";
}

/// The option `kvm` can only turn it off: a VM that asks for it runs emulated where there is none.
/// (The real server refuses such a VM; here every image must run on a bare machine.)
Accelerator accelerator_of(const QemuHost& host, const Options& options) {
  return option_or(options, "kvm", "1") == "0" ? Accelerator::tcg : host.accelerator;
}

std::string cpu_model(const QemuHost& host, const Options& options) {
  const bool kvm = accelerator_of(host, options) == Accelerator::kvm;
  const Properties cpu{option_or(options, "cpu", "kvm64")};
  const std::string model = cpu.get("", cpu.get("cputype", "kvm64"));
  // QEMU before 8 lacks PVE's x86-64-vN models; the flags are qemu-server's (CPUConfig.pm).
  static const std::map<std::string, std::string> levels{
      {"x86-64-v2", "qemu64,+popcnt,+pni,+sse4.1,+sse4.2,+ssse3"},
      {"x86-64-v2-AES", "qemu64,+aes,+popcnt,+pni,+sse4.1,+sse4.2,+ssse3"},
      {"x86-64-v3", "max"},
      {"x86-64-v4", "max"}};
  if (model == "host" || model == "max") return kvm ? "host" : "max";
  if (model == "kvm64" && !kvm) return "qemu64";
  const auto level = levels.find(model);
  return level == levels.end() ? model : level->second;
}

/// Boot order of the drives that have a place in it, from 1.
int boot_index(const Options& options, const std::string& name) {
  const Properties boot{option_or(options, "boot")};
  std::string order = boot.get("order");
  if (order.empty()) {
    for (const auto& drive : drives_of(options)) {
      if (!drive.is_cdrom() && drive.bus() != "efidisk") {
        order = drive.name;
        break;
      }
    }
  }
  int place = 1;
  for (std::size_t at = 0; at <= order.size(); ++place) {
    const auto end = std::min(order.find(';', at), order.size());
    if (order.substr(at, end - at) == name) return place;
    at = end + 1;
  }
  return 0;
}

std::string scsi_controller(const Options& options) {
  std::string hardware = option_or(options, "scsihw", "lsi");
  if (hardware.starts_with("virtio-scsi")) return "virtio-scsi-pci";
  if (hardware == "lsi") return "lsi53c895a";
  if (hardware == "lsi53c810") return "lsi53c810";
  return hardware;  // megasas, pvscsi
}

class CommandLine {
 public:
  CommandLine(const QemuHost& host, int vmid, const MachineSetup& setup)
      : host_{host}, vmid_{vmid}, setup_{setup}, options_{setup.options} {}

  std::vector<std::string> build() {
    add({host_.binary, "-name",
         fmt::format("{},debug-threads=on",
                     option_or(options_, "name", fmt::format("vm{}", vmid_))),
         "-nodefaults", "-no-user-config", "-display", "none"});
    base();
    firmware();
    monitor();
    controllers();
    for (const auto& drive : drives_of(options_)) add_drive(drive);
    for (int i = 0; i < 32; ++i) {
      const auto nic = options_.find(fmt::format("net{}", i));
      if (nic != options_.end()) add_nic(nic->first, nic->second);
    }
    if (!setup_.load_snapshot.empty()) add({"-loadvm", setup_.load_snapshot});
    return std::move(argv_);
  }

 private:
  void add(std::vector<std::string> words) {
    for (auto& word : words) argv_.push_back(std::move(word));
  }
  void device(const json::object& properties) { add({"-device", json::bj::serialize(properties)}); }

  void base() {
    const int cpus = cpu_count(options_);
    if (cpus > host_.cpus)
      refuse(fmt::format("MAX {} vcpus allowed per VM on this node", host_.cpus));
    std::string machine = "type=" + machine_type(host_, options_);
    if (uefi()) machine += ",pflash0=efi-code,pflash1=" + node_name_of("efidisk0");
    add({"-machine", machine, "-accel",
         std::string{accelerator_option(accelerator_of(host_, options_))}, "-cpu",
         cpu_model(host_, options_), "-smp",
         fmt::format("{},sockets={},cores={}", cpus, number_option(options_, "sockets", 1),
                     cpus / number_option(options_, "sockets", 1)),
         "-m", fmt::format("{}", memory_mib(options_)), "-rtc",
         fmt::format("base={}", option_or(options_, "localtime") == "1" ? "localtime" : "utc"),
         "-boot", "menu=off,strict=on"});
    const std::string uuid = Properties{option_or(options_, "smbios1")}.get("uuid");
    if (!uuid.empty()) add({"-uuid", uuid});
    const std::string generation = option_or(options_, "vmgenid", "0");
    if (generation.size() == 36) device({{"driver", "vmgenid"}, {"guid", generation}});
  }

  bool uefi() const { return option_or(options_, "bios") == "ovmf"; }

  void firmware() {
    if (!uefi()) return;
    if (host_.ovmf_code.empty()) refuse("EFI base image 'OVMF_CODE_4M.fd' not found");
    add({"-blockdev",
         json::bj::serialize(json::object{
             {"driver", "raw"},
             {"node-name", "efi-code"},
             {"read-only", true},
             {"file", json::object{{"driver", "file"}, {"filename", host_.ovmf_code.string()}}}})});
    if (!options_.contains("efidisk0")) refuse("no efidisk configured! The local node needs one.");
  }

  void monitor() {
    add({"-chardev", fmt::format("socket,id=qmp,path={}.qmp,server=on,wait=off", vmid_), "-mon",
         "chardev=qmp,mode=control"});
    if (option_or(options_, "serial0") == "socket") {
      add({"-chardev", fmt::format("socket,id=serial0,path={}.serial0,server=on,wait=off", vmid_)});
      device({{"driver", "isa-serial"}, {"chardev", "serial0"}});
    }
  }

  void controllers() {
    const std::string bus = pci_bus(options_);
    const std::string vga = Properties{option_or(options_, "vga", "std")}.get("", "std");
    if (!vga.starts_with("serial") && vga != "none") {
      device({{"driver", vga == "virtio" ? "virtio-vga" : "VGA"},
              {"id", "vga"},
              {"bus", bus},
              {"addr", slot(vga_slot)}});
    }
    const bool virtio_scsi = scsi_controller(options_) == "virtio-scsi-pci";
    // A virtio-scsi controller is always there, so that a CD drive can be plugged at any time.
    if (virtio_scsi || has_drive("scsi")) {
      device({{"driver", scsi_controller(options_)},
              {"id", "scsihw0"},
              {"bus", bus},
              {"addr", slot(scsi_slot)}});
    }
    if (has_drive("sata")) {
      device({{"driver", "ahci"}, {"id", "ahci0"}, {"bus", bus}, {"addr", slot(sata_slot)}});
    }
    if (options_.contains("rng0")) {
      add({"-object", "rng-random,id=rng0,filename=/dev/urandom"});
      device(
          {{"driver", "virtio-rng-pci"}, {"rng", "rng0"}, {"bus", bus}, {"addr", slot(rng_slot)}});
    }
    if (agent_enabled(options_)) {
      add({"-chardev", fmt::format("socket,id=qga0,path={}.qga,server=on,wait=off", vmid_)});
      device({{"driver", "virtio-serial-pci"},
              {"id", "qga-bus"},
              {"bus", bus},
              {"addr", slot(serial_slot)}});
      device({{"driver", "virtserialport"},
              {"bus", "qga-bus.0"},
              {"chardev", "qga0"},
              {"name", "org.qemu.guest_agent.0"}});
    }
  }

  bool has_drive(std::string_view bus) const {
    const auto drives = drives_of(options_);
    return std::any_of(drives.begin(), drives.end(),
                       [bus](const Drive& drive) { return drive.bus() == bus; });
  }

  void add_drive(const Drive& drive) {
    const bool efi = drive.bus() == "efidisk";
    if (efi && !uefi()) return;
    const auto volume = setup_.volumes.find(drive.volume);
    const bool has_medium = volume != setup_.volumes.end();
    if (!has_medium && !drive.is_empty()) {
      refuse(fmt::format("volume '{}' does not exist", drive.volume));
    }
    if (has_medium) {
      add({"-blockdev", json::bj::serialize(block_node(drive, volume->second))});
    }
    if (!efi) device(drive_device(options_, drive, has_medium));
  }

  void add_nic(const std::string& name, const std::string& value) {
    const auto tap = setup_.taps.find(name);
    if (tap != setup_.taps.end()) {
      add({"-netdev",
           fmt::format("tap,id={},ifname={},script=no,downscript=no", name, tap->second)});
    }
    device(nic_device(name, value, tap != setup_.taps.end()));
  }

  const QemuHost& host_;
  int vmid_;
  const MachineSetup& setup_;
  const Options& options_;
  std::vector<std::string> argv_;
};

}  // namespace

std::string_view name_of(Accelerator accelerator) noexcept {
  return accelerator == Accelerator::kvm ? "kvm" : "tcg";
}

std::vector<std::string> qemu_command_line(const QemuHost& host, int vmid,
                                           const MachineSetup& setup) {
  return CommandLine{host, vmid, setup}.build();
}

json::object block_node(const Drive& drive, const std::filesystem::path& path) {
  const bool cdrom = drive.is_cdrom();
  // A linked clone's volume names its base first: STORE:BASE/CLONE. Such a disk is throwaway.
  const bool linked = std::count(drive.volume.begin(), drive.volume.end(), '/') > 1;
  const json::object cache{{"direct", false}, {"no-flush", linked}};
  json::object node{
      {"driver", path.extension() == ".qcow2" && !cdrom ? "qcow2" : "raw"},
      {"node-name", node_name_of(drive.name)},
      {"read-only", cdrom},
      {"cache", cache},
      {"file", json::object{{"driver", "file"}, {"filename", path.string()}, {"cache", cache}}}};
  if (!cdrom) node["discard"] = "unmap";
  return node;
}

json::object drive_device(const Options& options, const Drive& drive, bool has_medium) {
  const std::string bus = drive.bus();
  const int index = drive.index();
  json::object device{{"id", drive.name}};
  if (bus == "scsi") {
    device["driver"] = drive.is_cdrom() ? "scsi-cd" : "scsi-hd";
    device["bus"] = "scsihw0.0";
    if (scsi_controller(options) == "virtio-scsi-pci") {
      device["channel"] = 0;
      device["scsi-id"] = 0;
      device["lun"] = index;
    } else {
      device["scsi-id"] = index;
    }
  } else if (bus == "virtio") {
    device["driver"] = "virtio-blk-pci";
    device["bus"] = pci_bus(options);
    if (index < block_slots) device["addr"] = slot(first_block_slot + index);
  } else {
    device["driver"] = drive.is_cdrom() ? "ide-cd" : "ide-hd";
    if (bus == "sata") {
      device["bus"] = fmt::format("ahci0.{}", index);
    } else if (is_q35(options)) {
      device["bus"] = fmt::format("ide.{}", index);
    } else {
      device["bus"] = fmt::format("ide.{}", index / 2);
      device["unit"] = index % 2;
    }
  }
  if (has_medium) device["drive"] = node_name_of(drive.name);
  if (drive.properties.has("serial")) device["serial"] = drive.properties.get("serial");
  if (const int place = boot_index(options, drive.name); place > 0) device["bootindex"] = place;
  return device;
}

json::object nic_device(const std::string& name, std::string_view text, bool connected) {
  const Properties nic{text};
  // MODEL=MAC comes first in what is kept; QEMU's names are the same but for virtio's.
  const auto& [model, address] = nic.items().front();
  int index = 0;
  std::from_chars(name.data() + 3, name.data() + name.size(), index);
  json::object device{{"driver", model == "virtio" ? "virtio-net-pci" : model},
                      {"id", name},
                      {"mac", address},
                      {"romfile", ""}};
  if (index < nic_slots) device["addr"] = slot(first_nic_slot + index);
  if (connected) device["netdev"] = name;
  return device;
}

std::string node_name_of(std::string_view drive) {
  return fmt::format("drive-{}", drive);
}

bool agent_enabled(const Options& options) {
  const Properties agent{option_or(options, "agent")};
  const std::string enabled = agent.get("", agent.get("enabled", "0"));
  return enabled == "1";
}

bool is_q35(const Options& options) {
  return option_or(options, "machine").find("q35") != std::string::npos;
}

std::int64_t memory_mib(const Options& options) {
  const Properties memory{option_or(options, "memory", "512")};
  return number_option({{"memory", memory.get("", memory.get("current"))}}, "memory", 512);
}

int cpu_count(const Options& options) {
  return static_cast<int>(number_option(options, "cores", 1) *
                          number_option(options, "sockets", 1));
}

}  // namespace px::node
