#include "image/drives.hpp"

#include <fmt/format.h>

#include <regex>

namespace px::image {

namespace {

constexpr int most_scsi = 30;  // scsi0..scsi30, ide0..ide3, sata0..sata5 (qemu-server, Drive.pm)
constexpr int most_ide = 3;
constexpr int most_sata = 5;

std::string free_place(const pve::qemu::VmConfigMap& config, std::string_view bus, int first,
                       int last) {
  for (int i = first; i <= last; ++i) {
    auto option = fmt::format("{}{}", bus, i);
    if (config.get(option).empty()) return option;
  }
  return {};
}

bool is_on_cd_bus(std::string_view option) {
  return option.starts_with("scsi") || option.starts_with("ide") || option.starts_with("sata");
}

bool has_virtio_scsi(const pve::qemu::VmConfigMap& config) {
  return config.get("scsihw").starts_with("virtio-scsi");
}

/// There an IDE drive hangs on AHCI, which small kernels lack (pve-practice section 1).
bool is_q35(const pve::qemu::VmConfigMap& config) {
  return config.get("machine").find("q35") != std::string::npos;
}

}  // namespace

std::string cd_drive_of(const pve::qemu::VmConfigMap& config) {
  for (const auto& [option, value] : config.values) {
    if (is_on_cd_bus(option) && value.starts_with("none") &&
        value.find("media=cdrom") != std::string::npos) {
      return option;
    }
  }
  if (has_virtio_scsi(config)) {
    if (auto place = free_place(config, "scsi", 1, most_scsi); !place.empty()) return place;
  }
  if (!is_q35(config) && config.get("ide2").empty()) return "ide2";
  return {};
}

bool is_cloud_init_drive(const std::string& option, const std::string& drive) {
  static const std::regex volume{"[^,]*[:/](vm-[0-9]+-)?cloudinit(\\.(raw|qcow2|vmdk))?(,.*)?"};
  return is_on_cd_bus(option) && std::regex_match(drive, volume);
}

std::string seed_drive_of(const pve::qemu::VmConfigMap& config) {
  for (const auto& [option, value] : config.values) {
    if (is_cloud_init_drive(option, value)) return option;
  }
  const auto scsi = has_virtio_scsi(config) ? free_place(config, "scsi", 1, most_scsi) : "";
  const bool on_scsi = boot_disk(config).starts_with("scsi") || is_q35(config);
  if (on_scsi && !scsi.empty()) return scsi;
  // ide2 is where people look for a CD-ROM; ide0 and ide1 belong to disks.
  const auto ide = free_place(config, "ide", 2, most_ide);
  if (!ide.empty()) return ide;
  return scsi.empty() ? free_place(config, "sata", 1, most_sata) : scsi;
}

std::string boot_disk(const pve::qemu::VmConfigMap& config) {
  const auto is_disk = [&](const std::string& option) {
    const auto value = config.get(option);
    return !value.empty() && value.find("media=cdrom") == std::string::npos;
  };
  auto order = config.get("boot");
  if (order.starts_with("order=")) {
    for (const auto& option : pve::qemu::split_tags(order.substr(6))) {
      if (!pve::qemu::is_card(option) && is_disk(option)) return option;
    }
  }
  for (const auto* option : {"scsi0", "virtio0", "ide0", "sata0"}) {
    if (is_disk(option)) return option;
  }
  return {};
}

std::string storage_of_drive(const std::string& drive) {
  return drive.substr(0, drive.find(':'));
}

double gib_of_drive(const std::string& drive) {
  const auto at = drive.find("size=");
  if (at == std::string::npos) return 0;
  std::size_t used = 0;
  const auto number = std::stod(drive.substr(at + 5), &used);
  constexpr double step = 1024;
  switch (drive.c_str()[at + 5 + used]) {
    case 'T':
      return number * step;
    case 'G':
      return number;
    case 'M':
      return number / step;
    case 'K':
      return number / step / step;
    default:
      return number / step / step / step;
  }
}

}  // namespace px::image
