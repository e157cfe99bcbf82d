#include "image/appliance_vm.hpp"

#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>

namespace px::image {

namespace {

/// Places on a bus (qemu-server, Drive.pm).
struct Bus {
  std::string_view name;
  int places;
};
constexpr std::array buses{Bus{"ide", 4}, Bus{"sata", 6}, Bus{"scsi", 31}, Bus{"virtio", 16}};

/// Longest label of a DNS name.
constexpr std::size_t most_name = 63;

/// Letters, digits and dashes of a name for people; empty when nothing is left.
std::string dns_name(std::string_view name) {
  std::string out;
  for (const unsigned char c : name) {
    const bool plain = c < 128 && std::isalnum(c) != 0;
    if (plain) {
      out += static_cast<char>(c);
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
    if (out.size() == most_name) break;
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out;
}

/// The bus that a disk gets.
std::string bus_for(const ApplianceDisk& disk, std::vector<std::string>& warnings) {
  if (disk.controller != "nvme") return disk.controller;
  // Proxmox VE has no NVMe disks; AHCI is what every system has a driver for.
  warnings.push_back(fmt::format("Disk {} is an NVMe disk; SATA is taken.", disk.id));
  return "sata";
}

int places_on(std::string_view bus) {
  return std::ranges::find(buses, bus, &Bus::name)->places;
}

/// The place that the source says, or the next free one.
int place_for(const Appliance& appliance, const OvfDisk& disk, const std::string& bus,
              std::set<int>& taken) {
  const int most = places_on(bus);
  int place = bus == "ide" ? disk.controller_number * 2 + disk.position : disk.position;
  if (place >= most || taken.contains(place)) {
    for (place = 0; taken.contains(place);) ++place;
  }
  if (place >= most) {
    throw_bad_input("ova", appliance.path.string(),
                    fmt::format("it has more than {} disks on {}, the most that Proxmox VE has "
                                "room for",
                                most, bus));
  }
  taken.insert(place);
  return place;
}

/// scsihw for a model as an OVF writes it. QEMU's LSI chips are others than VMware's, so their
/// drivers are, too.
std::string scsihw_of(const std::string& model, const std::string& os_type,
                      std::vector<std::string>& warnings) {
  if (model.find("virtualscsi") != std::string::npos || model == "pvscsi") return "pvscsi";
  if (model.find("virtio") != std::string::npos) return "virtio-scsi-pci";
  std::string taken = os_type == "l26" ? "virtio-scsi-pci" : "lsi";
  if (model.find("sas") != std::string::npos) taken = "megasas";
  if (model == "lsilogic" || model == "buslogic") taken = "lsi";
  warnings.push_back(
      fmt::format("Its SCSI controller is {}; {} is taken. If the guest does not find its disk, "
                  "choose another controller.",
                  model.empty() ? "of no known model" : model, taken));
  return taken;
}

void warn_of_several_models(const Appliance& appliance, ApplianceVm& vm) {
  std::set<std::string> models;
  for (const auto& disk : appliance.disks) {
    if (disk.controller == "scsi") models.insert(disk.scsi_model);
  }
  if (models.size() < 2) return;
  vm.warnings.push_back(fmt::format(
      "It has SCSI controllers of several models ({}); the first disk's is taken for all.",
      fmt::join(models, ", ")));
}

}  // namespace

ApplianceVm vm_of(const Appliance& appliance) {
  ApplianceVm out;
  const auto& machine = appliance.machine;
  out.name = dns_name(machine.name);
  out.bios = machine.firmware == Firmware::efi ? "ovmf" : "seabios";
  out.os_type = machine.os_type;
  std::map<std::string, std::set<int>> taken;
  for (std::size_t i = 0; i < appliance.disks.size(); ++i) {
    const auto& disk = appliance.disks[i];
    const auto bus = bus_for(disk, out.warnings);
    if (bus == "scsi" && out.scsihw.empty()) {
      out.scsihw = scsihw_of(disk.scsi_model, out.os_type, out.warnings);
    }
    const int place = place_for(appliance, machine.disks[i], bus, taken[bus]);
    out.slots.push_back(fmt::format("{}{}", bus, place));
  }
  warn_of_several_models(appliance, out);
  for (const auto& nic : machine.nics) out.nic_models.push_back(nic.model);
  return out;
}

std::vector<std::pair<std::string, std::string>> options_of(const Appliance& appliance,
                                                            const ApplianceVm& vm) {
  const auto& machine = appliance.machine;
  std::vector<std::pair<std::string, std::string>> out;
  const auto add = [&](std::string option, std::string value) {
    if (!value.empty()) out.emplace_back(std::move(option), std::move(value));
  };
  add("name", vm.name);
  add("memory", machine.memory_mib ? fmt::format("{}", *machine.memory_mib) : "");
  add("cores", machine.vcpus ? fmt::format("{}", *machine.vcpus) : "");
  add("ostype", vm.os_type);
  add("bios", vm.bios);
  if (machine.firmware == Firmware::efi) {
    add("efidisk0", fmt::format("efitype=4m,pre-enrolled-keys={}", machine.secure_boot ? 1 : 0));
  }
  add("scsihw", vm.scsihw);
  for (std::size_t i = 0; i < vm.slots.size(); ++i) {
    const auto& file = appliance.disks[i].file;
    add(vm.slots[i], file.empty() ? "(empty)" : file);
  }
  for (std::size_t i = 0; i < vm.nic_models.size(); ++i) {
    add(fmt::format("net{}", i), vm.nic_models[i]);
  }
  add("boot", "order=" + vm.slots.front());
  return out;
}

}  // namespace px::image
