#include "node/vm/peripherals.hpp"

#include "node/vm/devices.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/algorithm/string/classification.hpp>
#include <boost/algorithm/string/replace.hpp>
#include <boost/algorithm/string/split.hpp>
#include <fmt/format.h>

#include <array>
#include <cstdlib>

namespace px::node {

namespace {

constexpr int vga_slot = 0x2;
constexpr int balloon_slot = 0x3;
constexpr int watchdog_slot = 0x4;
constexpr int rng_slot = 0x6;
// PVE has these on a bridge of their own; QEMU would give them a place that is another's.
constexpr int audio_slot = 0x1b;
constexpr int usb_slot = 0x1c;

[[noreturn]] void reject_machine(std::string text) {
  throw Error{Errc::rejected, std::move(text)};
}

class Peripherals {
 public:
  explicit Peripherals(const Options& options) : options_{options} {}

  std::vector<std::string> build() {
    identity();
    display();
    sound();
    watchdog();
    tablet();
    balloon();
    random_numbers();
    if (options_.contains("keyboard")) add({"-k", options_.at("keyboard")});
    return std::move(argv_);
  }

 private:
  void add(std::vector<std::string> words) {
    for (auto& word : words) argv_.push_back(std::move(word));
  }
  void device(const json::object& properties) { add({"-device", json::bj::serialize(properties)}); }

  /// What SMBIOS says, and the generation that changes with every copy.
  void identity() {
    const Properties smbios{option_or(options_, "smbios1")};
    if (const std::string uuid = smbios.get("uuid"); !uuid.empty()) add({"-uuid", uuid});
    std::string fields;
    for (const auto* key : {"family", "manufacturer", "product", "serial", "sku", "version"}) {
      std::string value = smbios.get(key);
      if (value.empty()) continue;
      if (smbios.flag("base64")) value = from_base64(value);
      fields += fmt::format(",{}={}", key, boost::algorithm::replace_all_copy(value, ",", ",,"));
    }
    if (!fields.empty()) add({"-smbios", "type=1" + fields});
    const std::string generation = option_or(options_, "vmgenid", "0");
    if (generation.size() == 36) device({{"driver", "vmgenid"}, {"guid", generation}});
  }

  void display() {
    const Properties vga{option_or(options_, "vga", "std")};
    const std::string type = vga.get("", vga.get("type", "std"));
    if (type.starts_with("serial") || type == "none") return;
    json::object card{
        {"driver", "VGA"}, {"id", "vga"}, {"bus", pci_bus(options_)}, {"addr", pci_slot(vga_slot)}};
    const std::int64_t memory =
        vga.has("memory") ? number_option({{"vga", vga.get("memory")}}, "vga", 0) : 0;
    if (type == "virtio") {
      card["driver"] = "virtio-vga";
      if (memory > 0) card["max_hostmem"] = memory << 20;
    } else {
      if (type == "cirrus") card["driver"] = "cirrus-vga";
      if (type == "vmware") card["driver"] = "vmware-svga";
      if (memory > 0) card["vgamem_mb"] = memory;
    }
    if (type.starts_with("qxl")) {
      card["driver"] = "qxl-vga";
      if (memory > 0) {
        card["ram_size_mb"] = memory * 4;
        card["vram_size_mb"] = memory * 2;
      }
    }
    device(card);
  }

  /// Nobody listens: the guest has its card, and what it plays goes nowhere.
  void sound() {
    const Properties audio{option_or(options_, "audio0")};
    const std::string card = audio.get("device");
    if (card.empty()) return;
    add({"-audiodev", "none,id=audio0-backend"});
    json::object controller{{"driver", card},
                            {"id", "audiodev0"},
                            {"bus", pci_bus(options_)},
                            {"addr", pci_slot(audio_slot)}};
    if (card == "AC97") {
      controller["audiodev"] = "audio0-backend";
      device(controller);
      return;
    }
    device(controller);
    for (const auto& [codec, number] : {std::pair{"hda-micro", 0}, std::pair{"hda-duplex", 1}}) {
      device({{"driver", codec},
              {"id", fmt::format("audiodev0-codec{}", number)},
              {"bus", "audiodev0.0"},
              {"cad", number},
              {"audiodev", "audio0-backend"}});
    }
  }

  void watchdog() {
    if (!options_.contains("watchdog")) return;
    const Properties wanted{options_.at("watchdog")};
    const std::string model = wanted.get("", wanted.get("model", "i6300esb"));
    if (model == "ib700") {
      device({{"driver", model}});
    } else {
      device({{"driver", model}, {"bus", pci_bus(options_)}, {"addr", pci_slot(watchdog_slot)}});
    }
    if (wanted.has("action")) add({"-watchdog-action", wanted.get("action")});
  }

  void tablet() {
    if (option_or(options_, "tablet") != "1") return;
    device({{"driver", is_q35(options_) ? "usb-ehci" : "piix3-usb-uhci"},
            {"id", "usb"},
            {"bus", pci_bus(options_)},
            {"addr", pci_slot(usb_slot)}});
    device({{"driver", "usb-tablet"}, {"id", "tablet"}, {"bus", "usb.0"}, {"port", "1"}});
  }

  void balloon() {
    if (number_option(options_, "balloon", 0) == 0) return;
    device({{"driver", "virtio-balloon-pci"},
            {"id", "balloon0"},
            {"bus", pci_bus(options_)},
            {"addr", pci_slot(balloon_slot)},
            {"free-page-reporting", true}});
  }

  void random_numbers() {
    if (!options_.contains("rng0")) return;
    const Properties rng{options_.at("rng0")};
    add({"-object", fmt::format("rng-random,id=rng0,filename={}",
                                rng.get("", rng.get("source", "/dev/urandom")))});
    json::object card{{"driver", "virtio-rng-pci"},
                      {"rng", "rng0"},
                      {"bus", pci_bus(options_)},
                      {"addr", pci_slot(rng_slot)}};
    if (rng.has("max_bytes")) {
      card["max-bytes"] = number_option({{"rng0", rng.get("max_bytes")}}, "rng0", 0);
      card["period"] = number_option({{"rng0", rng.get("period", "1000")}}, "rng0", 0);
    }
    device(card);
  }

  const Options& options_;
  std::vector<std::string> argv_;
};

std::int64_t sockets_of(const Options& options) {
  return number_option(options, "sockets", number_option(options, "smp", 1));
}

std::vector<std::string> numa_node(int number, const std::string& cpus, std::int64_t mib) {
  std::vector<std::string> ranges;
  boost::split(ranges, cpus, boost::is_any_of(";"));
  return {"-object", fmt::format("memory-backend-ram,id=ram-node{},size={}M", number, mib), "-numa",
          fmt::format("node,nodeid={0},cpus={1},memdev=ram-node{0}", number,
                      fmt::join(ranges, ",cpus="))};
}

/// Nodes that are described one by one.
std::vector<std::string> described_nodes(const Options& options) {
  std::vector<std::string> argv;
  std::int64_t total = 0;
  for (int number = 0; number < 8; ++number) {
    const auto described = options.find(fmt::format("numa{}", number));
    if (described == options.end()) continue;
    const Properties node{described->second};
    if (!node.has("memory"))
      reject_machine(fmt::format("missing NUMA node{} memory value", number));
    const std::int64_t mib = std::strtoll(node.get("memory").c_str(), nullptr, 10);
    total += mib;
    const auto words = numa_node(number, node.get("cpus"), mib);
    argv.insert(argv.end(), words.begin(), words.end());
  }
  if (total != 0 && total != memory_mib(options)) {
    reject_machine("total memory for NUMA nodes must be equal to vm static memory");
  }
  return argv;
}

/// One node for each socket.
std::vector<std::string> equal_nodes(const Options& options) {
  std::vector<std::string> argv;
  const auto sockets = static_cast<int>(sockets_of(options));
  const auto cores = static_cast<int>(number_option(options, "cores", 1));
  const std::int64_t mib = memory_mib(options) / sockets;
  for (int number = 0; number < sockets; ++number) {
    const int first = cores * number;
    const auto cpus =
        cores > 1 ? fmt::format("{}-{}", first, first + cores - 1) : std::to_string(first);
    // What does not divide goes to the last one: QEMU wants all of the memory in nodes.
    const bool last = number + 1 == sockets;
    const auto words =
        numa_node(number, cpus, last ? memory_mib(options) - mib * (sockets - 1) : mib);
    argv.insert(argv.end(), words.begin(), words.end());
  }
  return argv;
}

struct Missing {
  std::string_view option;  ///< its name without a number
  std::string_view why;
};
constexpr std::array missing{Missing{"amd-sev", "it has no encrypted memory"},
                             Missing{"hookscript", "it runs no scripts of its users on the host"},
                             Missing{"hostpci", "it passes no devices of the host on"},
                             Missing{"hugepages", "it has no huge pages"},
                             Missing{"intel-tdx", "it has no encrypted memory"},
                             Missing{"ivshmem", "it shares no memory between VMs"},
                             Missing{"parallel", "it passes no devices of the host on"},
                             Missing{"virtiofs", "it shares no folders of the host"}};

[[noreturn]] void refuse_option(std::string_view option, std::string_view why) {
  reject_machine(fmt::format("the local node can't start a VM with '{}': {}", option, why));
}

void refuse_properties(const std::string& name, const Properties& properties) {
  const std::string first = properties.get("");
  if (name.starts_with("usb") &&
      boost::algorithm::to_lower_copy(properties.get("host", first)) != "spice") {
    refuse_option(name, "it passes no devices of the host on");
  }
  if (name == "vga" && properties.get("type", first) == "virtio-gl") {
    refuse_option("vga=virtio-gl", "it draws nothing on the host");
  }
  if (name == "machine" && properties.has("viommu")) {
    refuse_option("machine: viommu", "it has no IOMMU for guests");
  }
  if (name.starts_with("numa") && properties.has("hostnodes")) {
    refuse_option(name + ": hostnodes", "it binds no memory to the host's nodes");
  }
}

}  // namespace

std::vector<std::string> peripheral_arguments(const Options& options) {
  return Peripherals{options}.build();
}

std::vector<std::string> processor_arguments(const Options& options) {
  const int cpus = cpu_count(options);
  const auto sockets = sockets_of(options);
  std::string smp = fmt::format("{},sockets={},cores={}", number_option(options, "vcpus", cpus),
                                sockets, cpus / sockets);
  if (options.contains("vcpus")) smp += fmt::format(",maxcpus={}", cpus);
  std::vector<std::string> argv{"-smp", smp, "-m", fmt::format("{}", memory_mib(options))};
  if (option_or(options, "numa") != "1") return argv;
  auto nodes = described_nodes(options);
  if (nodes.empty()) nodes = equal_nodes(options);
  argv.insert(argv.end(), nodes.begin(), nodes.end());
  return argv;
}

void refuse_missing_hardware(const Options& options) {
  for (const auto& [name, value] : options) {
    const auto stem = name.substr(0, name.find_last_not_of("0123456789") + 1);
    for (const auto& [option, why] : missing) {
      if (stem == option) refuse_option(name, why);
    }
    if (stem == "serial" && value != "socket") {
      refuse_option(name, "it passes no devices of the host on");
    }
    if (is_drive_option(name)) {
      const Properties drive{value};
      if (drive.flag("snapshot")) refuse_option(name + ": snapshot", "take snapshots instead");
      if (drive.flag("scsiblock")) refuse_option(name + ": scsiblock", "it has no such devices");
    } else {
      refuse_properties(name, Properties{value});
    }
  }
  if (option_or(options, "arch", "x86_64") != "x86_64" ||
      option_or(options, "machine").starts_with("virt")) {
    refuse_option("arch", "it has x86_64 machines only");
  }
}

std::int64_t memory_mib(const Options& options) {
  const Properties memory{option_or(options, "memory", "512")};
  return number_option({{"memory", memory.get("", memory.get("current"))}}, "memory", 512);
}

int cpu_count(const Options& options) {
  return static_cast<int>(number_option(options, "cores", 1) * sockets_of(options));
}

}  // namespace px::node
