#include "cli/image_text.hpp"

#include "cli/table.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace px::cli {

namespace {

namespace bj = boost::json;
using image::Appliance;
using image::ApplianceDisk;
using image::ApplianceVm;
using image::Compression;
using image::OvaSums;

/// "8 GiB", "1.5 GiB", "512 bytes".
std::string size_text(std::uint64_t bytes) {
  constexpr std::uint64_t kib = 1024;
  if (bytes < kib) return fmt::format("{} bytes", bytes);
  auto value = static_cast<double>(bytes) / kib;
  for (const auto* unit : {"KiB", "MiB", "GiB"}) {
    if (value < kib) return fmt::format("{:.3g} {}", value, unit);
    value /= kib;
  }
  return fmt::format("{:.4g} TiB", value);
}

std::string format_text(std::string_view format, std::string_view kind, bool gzip) {
  return fmt::format("{}{}{}{}", format, kind.empty() ? "" : ", ", kind, gzip ? ", in gzip" : "");
}

std::string row_of(std::string_view name, std::string_view value) {
  return fmt::format("{:15}{}\n", name, value);
}

Table disk_table(const Appliance& appliance, const ApplianceVm& vm) {
  Table out{{"DISK", "FILE", "FORMAT", "IN THE FILE", "FOR THE GUEST"}};
  for (std::size_t i = 0; i < appliance.disks.size(); ++i) {
    const auto& disk = appliance.disks[i];
    const bool empty = disk.file.empty();
    out.add({vm.slots[i], disk.file,
             empty ? "" : format_text(name_of(disk.format), disk.kind, disk.gzip),
             empty ? "" : size_text(disk.size), size_text(disk.capacity)});
  }
  return out;
}

Table nic_table(const Appliance& appliance) {
  Table out{{"CARD", "MODEL", "IN THE SOURCE", "NETWORK"}};
  const auto& nics = appliance.machine.nics;
  for (std::size_t i = 0; i < nics.size(); ++i) {
    out.add({fmt::format("net{}", i), nics[i].model, nics[i].said, nics[i].network});
  }
  return out;
}

std::string manifest_text(const Appliance& appliance, bool checked) {
  const auto count = appliance.manifest.size();
  if (count == 0) return "none";
  return fmt::format("{} sums, {}", count, checked ? "all right" : "not checked");
}

// --- JSON ----------------------------------------------------------------------------------------

template <class T>
bj::value or_null(const std::optional<T>& value) {
  return value ? bj::value(*value) : bj::value(nullptr);
}

bj::value sum_of(const std::optional<OvaSums>& sums, const std::string& file) {
  if (!sums) return nullptr;
  const auto it = std::ranges::find(sums->members, file, &image::MemberSum::name);
  return it == sums->members.end() ? bj::value(nullptr) : bj::value(it->sha256);
}

bj::array disks_of(const Appliance& appliance, const ApplianceVm& vm,
                   const std::optional<OvaSums>& sums) {
  bj::array out;
  for (std::size_t i = 0; i < appliance.disks.size(); ++i) {
    const auto& disk = appliance.disks[i];
    const bool empty = disk.file.empty();
    out.push_back({{"slot", vm.slots[i]},
                   {"id", disk.id},
                   {"file", text_or_null(disk.file)},
                   {"controller", disk.controller},
                   {"scsi_model", text_or_null(disk.scsi_model)},
                   {"format", empty ? bj::value(nullptr) : bj::value(name_of(disk.format))},
                   {"kind", text_or_null(disk.kind)},
                   {"gzip", disk.gzip},
                   {"offset_bytes", disk.offset},
                   {"size_bytes", disk.size},
                   {"capacity_bytes", disk.capacity},
                   {"sha256", sum_of(sums, disk.file)}});
  }
  return out;
}

bj::array nics_of(const Appliance& appliance) {
  bj::array out;
  for (const auto& nic : appliance.machine.nics) {
    out.push_back({{"model", nic.model},
                   {"model_in_source", text_or_null(nic.said)},
                   {"network", text_or_null(nic.network)}});
  }
  return out;
}

bj::object options_json(const Appliance& appliance, const ApplianceVm& vm) {
  bj::object out;
  for (const auto& [option, value] : options_of(appliance, vm)) out[option] = value;
  return out;
}

std::vector<std::string> warnings_of(const Appliance& appliance, const ApplianceVm& vm) {
  auto out = appliance.warnings;
  out.insert(out.end(), vm.warnings.begin(), vm.warnings.end());
  return out;
}

}  // namespace

std::string disk_text(const InspectedDisk& disk) {
  const auto& header = disk.header;
  std::string out = row_of("file", disk.file);
  if (header.compression == Compression::none) {
    out += row_of("format", format_text(name_of(header.format), header.kind, false));
    out += row_of("in the file", size_text(disk.size));
    out += row_of("for the guest", fmt::format("{} ({} bytes)", size_text(header.virtual_size),
                                               header.virtual_size));
  } else {
    out += row_of("format", fmt::format("compressed by {}", name_of(header.compression)));
    out += row_of("in the file", size_text(disk.size));
  }
  if (disk.sha256) out += row_of("sha256", *disk.sha256);
  return out;
}

std::string disk_line(const InspectedDisk& disk) {
  const auto& header = disk.header;
  const bool plain = header.compression == Compression::none;
  const bj::object line{
      {"file", disk.file},
      {"type", "disk"},
      {"format", plain ? bj::value(name_of(header.format)) : nullptr},
      {"kind", text_or_null(header.kind)},
      {"compression", plain ? bj::value(nullptr) : bj::value(name_of(header.compression))},
      {"size_bytes", disk.size},
      {"capacity_bytes", plain ? bj::value(header.virtual_size) : nullptr},
      {"sha256", or_null(disk.sha256)}};
  return bj::serialize(line) + "\n";
}

std::string appliance_text(const Appliance& appliance, const ApplianceVm& vm,
                           const std::optional<OvaSums>& sums) {
  const auto& machine = appliance.machine;
  std::string out = row_of("file", appliance.path.string());
  out += row_of(
      "appliance",
      fmt::format("{} ({} of OVF {}, {})", machine.name.empty() ? "-" : machine.name,
                  appliance.packed ? "OVA" : "descriptor", machine.version, machine.flavour));
  out += row_of("system", machine.os_said.empty() ? "not said" : machine.os_said);
  out += row_of("manifest", manifest_text(appliance, sums.has_value()));
  if (sums) out += row_of("sha256", sums->sha256);
  out += "\n" + disk_table(appliance, vm).text();
  const auto nics = nic_table(appliance);
  if (!nics.empty()) out += "\n" + nics.text();
  out += "\nAs a VM of Proxmox VE, where the configuration says nothing else:\n";
  for (const auto& [option, value] : options_of(appliance, vm)) {
    out += fmt::format("  {}: {}\n", option, value);
  }
  return out;
}

std::string appliance_line(const Appliance& appliance, const ApplianceVm& vm,
                           const std::optional<OvaSums>& sums) {
  const auto& machine = appliance.machine;
  const bj::object line{{"file", appliance.path.string()},
                        {"type", appliance.packed ? "ova" : "ovf"},
                        {"ovf_version", machine.version},
                        {"flavour", machine.flavour},
                        {"name", text_or_null(machine.name)},
                        {"system", text_or_null(machine.os_said)},
                        {"ostype", machine.os_type},
                        {"vcpus", or_null(machine.vcpus)},
                        {"memory_mib", or_null(machine.memory_mib)},
                        {"firmware", machine.firmware == image::Firmware::efi ? "efi" : "bios"},
                        {"secure_boot", machine.secure_boot},
                        {"disks", disks_of(appliance, vm, sums)},
                        {"nics", nics_of(appliance)},
                        {"options", options_json(appliance, vm)},
                        {"manifest_files", appliance.manifest.size()},
                        {"manifest_checked", sums && !appliance.manifest.empty()},
                        {"sha256", sums ? bj::value(sums->sha256) : nullptr},
                        {"warnings", bj::value_from(warnings_of(appliance, vm))}};
  return bj::serialize(line) + "\n";
}

}  // namespace px::cli
