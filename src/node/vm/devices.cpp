#include "node/vm/devices.hpp"

#include "support/bytes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace px::node {

namespace {

constexpr int first_block_slot = 0xa;
constexpr int block_slots = 8;
constexpr int first_nic_slot = 0x12;
constexpr int nic_slots = 8;

/// Boot order of the drives that have a place in it, from 1.
int boot_index(const Options& options, const std::string& name) {
  const Properties boot{option_or(options, "boot")};
  std::string order = boot.get("order");
  if (order.empty()) order = option_or(options, "bootdisk");
  if (order.empty()) {
    for (const auto& drive : drives_of(options)) {
      if (!drive.is_cdrom() && !drive.is_state()) {
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

void place_on_scsi(json::object& device, const Options& options, const Drive& drive) {
  const std::string controller = scsi_controller(options);
  const int number = scsi_controller_number(options, drive);
  device["driver"] = drive.is_cdrom() ? "scsi-cd" : "scsi-hd";
  device["bus"] = fmt::format("scsihw{}.0", number);
  if (controller.starts_with("lsi")) {
    device["scsi-id"] = drive.index() % 7;
  } else if (controller == "pvscsi") {
    device["scsi-id"] = drive.index();
  } else {
    device["channel"] = 0;
    device["scsi-id"] = 0;
    device["lun"] = drive.index();
  }
}

void place_on_ide(json::object& device, const Options& options, const Drive& drive) {
  const int index = drive.index();
  device["driver"] = drive.is_cdrom() ? "ide-cd" : "ide-hd";
  if (drive.bus() == "sata") {
    device["bus"] = fmt::format("ahci0.{}", index);
  } else if (is_q35(options)) {
    device["bus"] = fmt::format("ide.{}", index);
  } else {
    device["bus"] = fmt::format("ide.{}", index / 2);
    device["unit"] = index % 2;
  }
}

/// What a drive's options tell the guest of it.
void describe_drive(json::object& device, const Drive& drive) {
  const Properties& wanted = drive.properties;
  for (const auto* key : {"serial", "model"}) {
    if (wanted.has(key)) device[key] = percent_decode(wanted.get(key));
  }
  for (const auto* key : {"vendor", "product", "rerror", "werror"}) {
    if (wanted.has(key)) device[key] = wanted.get(key);
  }
  if (const std::string wwn = wanted.get("wwn"); wwn.size() > 2) {
    std::uint64_t number = 0;
    std::from_chars(wwn.data() + 2, wwn.data() + wwn.size(), number, 16);
    device["wwn"] = number;
  }
  if (wanted.flag("ssd") && !drive.is_cdrom()) device["rotation_rate"] = 1;
  const std::string cache = wanted.get("cache");
  if (cache == "writethrough" || cache == "directsync") device["write-cache"] = "off";
}

}  // namespace

json::object block_node(const Drive& drive, const std::filesystem::path& path) {
  const bool cdrom = drive.is_cdrom();
  // A linked clone's volume names its base first: STORE:BASE/CLONE. Such a disk is throwaway.
  const bool linked = std::count(drive.volume.begin(), drive.volume.end(), '/') > 1;
  const std::string mode = drive.properties.get("cache", linked ? "unsafe" : "writeback");
  const json::object cache{{"direct", mode == "none" || mode == "directsync"},
                           {"no-flush", mode == "unsafe"}};
  json::object node{
      {"driver", path.extension() == ".qcow2" && !cdrom ? "qcow2" : "raw"},
      {"node-name", node_name_of(drive.name)},
      {"read-only", cdrom || drive.properties.flag("ro")},
      {"cache", cache},
      {"file", json::object{{"driver", "file"}, {"filename", path.string()}, {"cache", cache}}}};
  if (cdrom) return node;
  const bool discard = drive.properties.get("discard") != "ignore";
  if (discard) node["discard"] = "unmap";
  if (drive.properties.flag("detect_zeroes")) node["detect-zeroes"] = discard ? "unmap" : "on";
  return node;
}

json::object drive_device(const Options& options, const Drive& drive, bool has_medium) {
  const std::string bus = drive.bus();
  json::object device{{"id", drive.name}};
  if (bus == "scsi") {
    place_on_scsi(device, options, drive);
  } else if (bus == "virtio") {
    device["driver"] = "virtio-blk-pci";
    device["bus"] = pci_bus(options);
    if (drive.index() < block_slots) device["addr"] = pci_slot(first_block_slot + drive.index());
    if (const auto thread = iothread_of(options, drive); !thread.empty()) {
      device["iothread"] = thread;
    }
  } else {
    place_on_ide(device, options, drive);
  }
  if (has_medium) device["drive"] = node_name_of(drive.name);
  describe_drive(device, drive);
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
  if (index < nic_slots) device["addr"] = pci_slot(first_nic_slot + index);
  if (connected) device["netdev"] = name;
  return device;
}

std::string node_name_of(std::string_view drive) {
  return fmt::format("drive-{}", drive);
}

std::string iothread_of(const Options& options, const Drive& drive) {
  if (!drive.properties.flag("iothread")) return {};
  if (drive.bus() == "virtio") return "iothread-" + drive.name;
  // As with PVE, only the controller that is made for it can use one; here it is one for all disks.
  const bool single = option_or(options, "scsihw") == "virtio-scsi-single";
  return drive.bus() == "scsi" && single ? "iothread-scsihw0" : "";
}

std::string scsi_controller(const Options& options) {
  std::string hardware = option_or(options, "scsihw", "lsi");
  if (hardware.starts_with("virtio-scsi")) return "virtio-scsi-pci";
  if (hardware == "lsi") return "lsi53c895a";
  return hardware;  // lsi53c810, megasas, pvscsi
}

int scsi_controller_number(const Options& options, const Drive& drive) {
  // The LSI controllers have seven places for disks.
  return scsi_controller(options).starts_with("lsi") ? drive.index() / 7 : 0;
}

bool is_q35(const Options& options) {
  return option_or(options, "machine").find("q35") != std::string::npos;
}

std::string pci_bus(const Options& options) {
  return is_q35(options) ? "pcie.0" : "pci.0";
}

std::string pci_slot(int number) {
  return fmt::format("{:#x}", number);
}

}  // namespace px::node
