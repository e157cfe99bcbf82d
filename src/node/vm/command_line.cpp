#include "node/vm/command_line.hpp"

#include "node/vm/cpu_option.hpp"
#include "node/vm/devices.hpp"
#include "node/vm/peripherals.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

namespace px::node {

namespace {

[[noreturn]] void refuse(std::string text) {
  throw Error{Errc::rejected, std::move(text)};
}

/// Of the first controller as with PVE, of the LSI's others where nothing else is.
constexpr std::array scsi_slots{0x5, 0x9, 0x1a, 0x1d, 0x1e};
constexpr int sata_slot = 0x7;
constexpr int serial_slot = 0x8;

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
  if (type.ends_with(".pxe")) type.resize(type.size() - 4);
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

/// The words of `args`, as a shell splits them, without expansions.
std::vector<std::string> shell_words(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  bool started = false;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      word += text[++i];
      started = true;
    } else if (quote != 0 ? c == quote : c == '"' || c == '\'') {
      quote = quote == 0 ? c : '\0';
      started = true;
    } else if (quote == 0 && (c == ' ' || c == '\t')) {
      if (started) words.push_back(std::exchange(word, {}));
      started = false;
    } else {
      word += c;
      started = true;
    }
  }
  if (started) words.push_back(std::move(word));
  return words;
}

class CommandLine {
 public:
  CommandLine(const QemuHost& host, int vmid, const MachineSetup& setup)
      : host_{host}, vmid_{vmid}, setup_{setup}, options_{setup.options} {}

  std::vector<std::string> build() {
    refuse_missing_hardware(options_);
    if (options_.contains("affinity")) add({"taskset", "--cpu-list", options_.at("affinity")});
    add({host_.binary, "-name",
         fmt::format("{},debug-threads=on",
                     option_or(options_, "name", fmt::format("vm{}", vmid_))),
         "-nodefaults", "-no-user-config", "-display", "none"});
    base();
    firmware();
    add(peripheral_arguments(options_));
    monitor();
    controllers();
    agent();
    trusted_platform();
    for (const auto& drive : drives_of(options_)) add_drive(drive);
    for (int i = 0; i < 32; ++i) {
      const auto nic = options_.find(fmt::format("net{}", i));
      if (nic != options_.end()) add_nic(nic->first, nic->second);
    }
    if (!setup_.load_snapshot.empty()) add({"-loadvm", setup_.load_snapshot});
    add(shell_words(option_or(options_, "args")));
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
    const Accelerator accelerator = accelerator_of(host_, options_);
    add({"-machine", machine(), "-accel", std::string{accelerator_option(accelerator)}, "-cpu",
         cpu_argument(options_, accelerator == Accelerator::kvm)});
    add(processor_arguments(options_));
    add({"-rtc", clock(), "-boot", "menu=off,strict=on"});
    if (option_or(options_, "reboot") == "0") add({"-no-reboot"});
    if (option_or(options_, "freeze") == "1") add({"-S"});
    sleep_states();
  }

  std::string machine() const {
    std::string machine = "type=" + machine_type(host_, options_);
    if (option_or(options_, "acpi") == "0") machine += ",acpi=off";
    if (uefi()) machine += ",pflash0=efi-code,pflash1=" + node_name_of("efidisk0");
    // OVMF keeps the keys where only the firmware's own mode can write.
    if (secure_boot()) machine += ",smm=on";
    return machine;
  }

  std::string clock() const {
    const std::string date = option_or(options_, "startdate", "now");
    const bool local = option_or(options_, "localtime", is_windows(options_) ? "1" : "0") == "1";
    std::string clock = fmt::format("base={}", date != "now" ? date : local ? "localtime" : "utc");
    if (option_or(options_, "tdf") == "1") clock += ",driftfix=slew";
    return clock;
  }

  void sleep_states() {
    const Properties machine{option_or(options_, "machine")};
    const std::string bridge = is_q35(options_) ? "ICH9-LPC" : "PIIX4_PM";
    for (const auto* state : {"s3", "s4"}) {
      const std::string key = fmt::format("enable-{}", state);
      if (!machine.has(key)) continue;
      add({"-global", fmt::format("{}.disable_{}={}", bridge, state, machine.flag(key) ? 0 : 1)});
    }
  }

  bool uefi() const { return option_or(options_, "bios") == "ovmf"; }
  Properties efi_disk() const { return Properties{option_or(options_, "efidisk0")}; }
  bool secure_boot() const { return uefi() && wants_secure_boot(efi_disk()); }

  void firmware() {
    if (secure_boot()) add({"-global", "driver=cfi.pflash01,property=secure,value=on"});
    if (!uefi()) return;
    if (!options_.contains("efidisk0")) refuse("no efidisk configured! The local node needs one.");
    if (secure_boot() && !is_q35(options_)) {
      refuse(
          "efidisk0: pre-enrolled-keys=1 needs machine=q35 on the local node, whose firmware has "
          "no secure boot on other machines");
    }
    const UefiFirmware& found = host_.firmware.of(efi_disk());
    if (found.code.empty()) {
      refuse(fmt::format("EFI base image '{}' not found", found.wanted_code));
    }
    add({"-blockdev",
         json::bj::serialize(json::object{
             {"driver", "raw"},
             {"node-name", "efi-code"},
             {"read-only", true},
             {"file", json::object{{"driver", "file"}, {"filename", found.code.string()}}}})});
  }

  void monitor() {
    add({"-chardev", fmt::format("socket,id=qmp,path={}.qmp,server=on,wait=off", vmid_), "-mon",
         "chardev=qmp,mode=control"});
    for (int i = 0; i < 4; ++i) {
      const auto name = fmt::format("serial{}", i);
      if (option_or(options_, name) != "socket") continue;
      add({"-chardev", fmt::format("socket,id={0},path={1}.{0},server=on,wait=off", name, vmid_)});
      device({{"driver", "isa-serial"}, {"chardev", name}});
    }
  }

  void controllers() {
    const std::string bus = pci_bus(options_);
    const std::string scsi = scsi_controller(options_);
    std::set<int> numbers;
    // A virtio-scsi controller is always there, so that a CD drive can be plugged at any time.
    if (scsi == "virtio-scsi-pci") numbers.insert(0);
    std::string thread;
    for (const auto& drive : drives_of(options_)) {
      if (drive.bus() == "scsi") {
        numbers.insert(scsi_controller_number(options_, drive));
        if (auto own = iothread_of(options_, drive); !own.empty()) thread = std::move(own);
      }
    }
    if (!thread.empty()) add({"-object", "iothread,id=" + thread});
    for (const int number : numbers) {
      json::object controller{
          {"driver", scsi}, {"id", fmt::format("scsihw{}", number)}, {"bus", bus}};
      controller["addr"] = pci_slot(scsi_slots.at(static_cast<std::size_t>(number)));
      if (!thread.empty()) controller["iothread"] = thread;
      device(controller);
    }
    if (has_drive("sata")) {
      device({{"driver", "ahci"}, {"id", "ahci0"}, {"bus", bus}, {"addr", pci_slot(sata_slot)}});
    }
  }

  void agent() {
    if (!agent_enabled(options_)) return;
    add({"-chardev", fmt::format("socket,id=qga0,path={}.qga,server=on,wait=off", vmid_)});
    if (Properties{option_or(options_, "agent")}.get("type") == "isa") {
      device({{"driver", "isa-serial"}, {"chardev", "qga0"}});
      return;
    }
    device({{"driver", "virtio-serial-pci"},
            {"id", "qga-bus"},
            {"bus", pci_bus(options_)},
            {"addr", pci_slot(serial_slot)}});
    device({{"driver", "virtserialport"},
            {"bus", "qga-bus.0"},
            {"chardev", "qga0"},
            {"name", "org.qemu.guest_agent.0"}});
  }

  void trusted_platform() {
    if (!options_.contains("tpmstate0")) return;
    add({"-chardev", fmt::format("socket,id=tpmchar,fd={}", passed_descriptor), "-tpmdev",
         "emulator,id=tpmdev,chardev=tpmchar"});
    device({{"driver", "tpm-tis"}, {"tpmdev", "tpmdev"}});
  }

  bool has_drive(std::string_view bus) const {
    const auto drives = drives_of(options_);
    return std::any_of(drives.begin(), drives.end(),
                       [bus](const Drive& drive) { return drive.bus() == bus; });
  }

  void add_drive(const Drive& drive) {
    // The emulator of the TPM has its state's file, and without UEFI nobody reads the variables.
    if (drive.bus() == "tpmstate" || (drive.bus() == "efidisk" && !uefi())) return;
    const auto volume = setup_.volumes.find(drive.volume);
    const bool has_medium = volume != setup_.volumes.end();
    if (!has_medium && !drive.is_empty()) {
      refuse(fmt::format("volume '{}' does not exist", drive.volume));
    }
    if (has_medium) {
      add({"-blockdev", json::bj::serialize(block_node(drive, volume->second))});
    }
    if (drive.is_state()) return;
    if (drive.bus() == "virtio") {
      if (const auto thread = iothread_of(options_, drive); !thread.empty()) {
        add({"-object", "iothread,id=" + thread});
      }
    }
    device(drive_device(options_, drive, has_medium));
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

bool agent_enabled(const Options& options) {
  const Properties agent{option_or(options, "agent")};
  return agent.flag(agent.has("") ? "" : "enabled");
}

}  // namespace px::node
