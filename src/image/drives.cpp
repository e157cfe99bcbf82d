#include "image/drives.hpp"

#include <fmt/format.h>

namespace px::image {

namespace {

constexpr int most_scsi = 30;  // scsi0..scsi30 (qemu-server, Drive.pm)

}  // namespace

std::string cd_drive_of(const pve::qemu::VmConfigMap& config) {
  for (const auto& [option, value] : config.values) {
    const bool drive =
        option.starts_with("scsi") || option.starts_with("ide") || option.starts_with("sata");
    if (drive && value.starts_with("none") && value.find("media=cdrom") != std::string::npos) {
      return option;
    }
  }
  if (config.get("scsihw").starts_with("virtio-scsi")) {
    for (int i = 1; i <= most_scsi; ++i) {
      const auto option = fmt::format("scsi{}", i);
      if (config.get(option).empty()) return option;
    }
  }
  // On q35 an IDE drive hangs on AHCI, which small kernels lack (pve-practice section 1).
  const bool q35 = config.get("machine").find("q35") != std::string::npos;
  if (!q35 && config.get("ide2").empty()) return "ide2";
  return {};
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
