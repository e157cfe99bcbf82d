#pragma once
#include "image/appliance_vm.hpp"
#include "image/disk_header.hpp"
#include "image/ova.hpp"

#include <cstdint>
#include <optional>
#include <string>

/// What `image inspect` shows, as text.
namespace px::cli {

/// A disk image's file, its size in bytes, and its sum where one was made.
struct InspectedDisk {
  std::string file;
  std::uint64_t size = 0;
  image::DiskHeader header;
  std::optional<std::string> sha256;
};

std::string disk_text(const InspectedDisk& disk);
/// A JSON object in a line (docs/images.md).
std::string disk_line(const InspectedDisk& disk);

/// Without the warnings, which are talk.
std::string appliance_text(const image::Appliance& appliance, const image::ApplianceVm& vm,
                           const std::optional<image::OvaSums>& sums);
std::string appliance_line(const image::Appliance& appliance, const image::ApplianceVm& vm,
                           const std::optional<image::OvaSums>& sums);

}  // namespace px::cli
