#include "image/ova.hpp"

#include "support/bytes.hpp"
#include "support/error.hpp"

#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

namespace px::image {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t most_member_text = 16U << 20U;

/// The folder of a member with its `/`, or nothing: names in it are relative to that.
std::string folder_of(const std::string& member) {
  return member.substr(0, member.rfind('/') + 1);
}

const Member* find_member(const Appliance& appliance, const std::string& name) {
  const auto it = std::ranges::find(appliance.members, name, &Member::name);
  return it == appliance.members.end() ? nullptr : &*it;
}

fs::path file_of(const Appliance& appliance, const Member& member) {
  return appliance.packed ? appliance.path : appliance.path.parent_path() / member.name;
}

Window window_of(const Appliance& appliance, const Member& member) {
  if (!appliance.packed) return Window::of_file(file_of(appliance, member));
  return Window::of_file(appliance.path).part(member.offset, member.size, member.name);
}

std::string text_of(const Appliance& appliance, const Member& member) {
  if (member.size > most_member_text) {
    throw_bad_input(
        appliance.path.string(), member.name,
        fmt::format("it has {} bytes; {} are the most for a text", member.size, most_member_text));
  }
  return window_of(appliance, member).read(0, static_cast<std::size_t>(member.size));
}

/// For errors: "box.ova: box.ovf", "box.ovf".
std::string place_of(const Appliance& appliance, const std::string& member) {
  const auto file = appliance.path.filename().string();
  return appliance.packed ? fmt::format("{}: {}", file, member) : member;
}

// --- the descriptor ------------------------------------------------------------------------------

std::string only_descriptor(const Appliance& appliance) {
  std::vector<std::string> found;
  for (const auto& member : appliance.members) {
    if (boost::iends_with(member.name, ".ovf")) found.push_back(member.name);
  }
  const auto file = appliance.path.string();
  if (found.empty()) {
    std::vector<std::string> names;
    for (const auto& member : appliance.members) names.push_back(member.name);
    names.resize(std::min<std::size_t>(names.size(), 5));
    throw_bad_input(
        "ova", file,
        fmt::format("it has no descriptor (.ovf); its members are: {}",
                    names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
  }
  if (found.size() > 1) {
    throw_bad_input("ova", file,
                    fmt::format("it has {} descriptors ({}); one VM has one", found.size(),
                                fmt::join(found, ", ")));
  }
  return found.front();
}

// --- files ---------------------------------------------------------------------------------------

void check_relative(const Appliance& appliance, const std::string& name) {
  const fs::path path{name};
  const bool leads_out =
      std::ranges::any_of(path, [](const fs::path& part) { return part == ".."; });
  if (path.is_absolute() || leads_out) {
    throw_bad_input(
        place_of(appliance, appliance.descriptor), name,
        "files of an appliance are in it, or beside its .ovf: no absolute path, no `..`");
  }
}

/// Beside an .ovf: a file there becomes a member when it is named. A stranger's folder must not
/// make us upload other files by a link.
bool take_file(Appliance& appliance, const std::string& name) {
  if (find_member(appliance, name) != nullptr) return true;
  std::error_code error;
  const auto path = appliance.path.parent_path() / name;
  if (!fs::is_regular_file(path, error)) return false;
  const auto folder = fs::canonical(fs::absolute(appliance.path).parent_path());
  const auto target = fs::canonical(path);
  if (!target.string().starts_with(folder.string() + "/")) {
    throw_bad_input(
        appliance.path.filename().string(), name,
        fmt::format("it is a link to {}, out of the descriptor's folder", target.string()));
  }
  appliance.members.push_back({name, 0, fs::file_size(path)});
  return true;
}

/// The member that a name in the descriptor or the manifest means; none when there is none.
/// A href is a URL by the standard, and a plain name by habit.
std::optional<Member> resolve(Appliance& appliance, const std::string& name) {
  std::vector<std::string> readings{name};
  if (name.find('%') != std::string::npos) {
    try {
      readings.push_back(percent_decode(name));
    } catch (const Error&) {
      // A plain name with a `%` in it.
    }
  }
  for (auto reading : readings) {
    check_relative(appliance, reading);
    if (reading.starts_with("./")) reading.erase(0, 2);
    const auto full = folder_of(appliance.descriptor) + reading;
    if (!appliance.packed && !take_file(appliance, full)) continue;
    if (const auto* member = find_member(appliance, full)) return *member;
  }
  return std::nullopt;
}

// --- disks ---------------------------------------------------------------------------------------

void read_format(const Window& bytes, const OvfDisk& said, ApplianceDisk& disk) {
  const auto header = read_disk_header(bytes);
  disk.kind = header.kind;
  switch (header.compression) {
    case Compression::none:
      if (said.file->gzip) {
        throw_bad_input(bytes.name(), "compression=\"gzip\"",
                        "the descriptor says so, but the disk is no gzip stream");
      }
      disk.format = header.format;
      break;
    case Compression::gzip:
      disk.gzip = true;
      disk.format = format_in_gzip(bytes);
      break;
    default:
      throw_bad_input(bytes.name(), name_of(header.compression),
                      "a disk in an appliance is plain or compressed by gzip");
  }
  disk.capacity = header.virtual_size == 0 ? said.capacity : header.virtual_size;
}

void warn_of_differences(const OvfDisk& said, const ApplianceDisk& disk,
                         std::vector<std::string>& warnings) {
  if (said.capacity != 0 && said.capacity != disk.capacity) {
    warnings.push_back(
        fmt::format("Disk {} has {} bytes by its own header, {} by the descriptor; "
                    "the header counts.",
                    disk.file, disk.capacity, said.capacity));
  }
  if (said.file->size && *said.file->size != disk.size) {
    warnings.push_back(fmt::format("File {} has {} bytes, the descriptor says {}.", disk.file,
                                   disk.size, *said.file->size));
  }
  if (disk.gzip && !said.file->gzip) {
    warnings.push_back(
        fmt::format("File {} is compressed by gzip; the descriptor does not say so.", disk.file));
  }
}

ApplianceDisk to_disk(Appliance& appliance, const OvfDisk& said) {
  ApplianceDisk out;
  out.id = said.id;
  out.controller = said.controller;
  out.scsi_model = said.scsi_model;
  out.capacity = said.capacity;
  if (!said.file) return out;
  const auto member = resolve(appliance, said.file->href);
  if (!member) {
    throw_bad_input(place_of(appliance, appliance.descriptor), said.file->href,
                    appliance.packed ? "the OVA has no such member"
                                     : "there is no such file beside the descriptor");
  }
  out.file = member->name;
  out.path = file_of(appliance, *member);
  out.offset = member->offset;
  out.size = member->size;
  read_format(window_of(appliance, *member), said, out);
  warn_of_differences(said, out, appliance.warnings);
  return out;
}

// --- manifest ------------------------------------------------------------------------------------

/// The manifest has the descriptor's name; one of another name counts when it is the only one.
std::optional<std::string> manifest_name(Appliance& appliance) {
  const auto& descriptor = appliance.descriptor;
  auto wanted = descriptor.substr(0, descriptor.size() - 4) + ".mf";
  if (!appliance.packed) {
    return take_file(appliance, wanted) ? std::optional{wanted} : std::nullopt;
  }
  std::vector<std::string> found;
  for (const auto& member : appliance.members) {
    if (member.name == wanted) return wanted;
    if (boost::iends_with(member.name, ".mf")) found.push_back(member.name);
  }
  if (found.size() > 1) {
    throw_bad_input("ova", appliance.path.string(),
                    fmt::format("it has {} manifests ({}), none of the descriptor's name",
                                found.size(), fmt::join(found, ", ")));
  }
  return found.empty() ? std::nullopt : std::optional{found.front()};
}

void read_manifest(Appliance& appliance) {
  const auto name = manifest_name(appliance);
  if (!name) return;
  const auto place = place_of(appliance, *name);
  appliance.manifest = parse_manifest(text_of(appliance, *find_member(appliance, *name)), place);
  std::set<std::string> listed;
  for (auto& entry : appliance.manifest) {
    const auto member = resolve(appliance, entry.file);
    if (!member) {
      throw_bad_input(place, entry.file,
                      appliance.packed ? "the manifest names it, and the OVA has no such member"
                                       : "the manifest names it, and there is no such file");
    }
    entry.file = member->name;
    listed.insert(entry.file);
  }
  for (const auto& disk : appliance.disks) {
    if (disk.file.empty() || listed.contains(disk.file)) continue;
    appliance.warnings.push_back(fmt::format("The manifest has no sum of {}.", disk.file));
  }
}

}  // namespace

Appliance read_ova(const std::filesystem::path& path) {
  Appliance out;
  out.path = path;
  out.packed = !boost::iends_with(path.filename().string(), ".ovf");
  const auto whole = Window::of_file(path);
  if (out.packed) {
    out.members = read_members(whole);
    out.descriptor = only_descriptor(out);
  } else {
    out.descriptor = path.filename().string();
    out.members.push_back({out.descriptor, 0, whole.size()});
  }
  const auto text = text_of(out, *find_member(out, out.descriptor));
  out.machine = parse_ovf(text, place_of(out, out.descriptor));
  out.warnings = out.machine.warnings;
  if (out.machine.disks.empty()) {
    throw_bad_input("ova", path.string(), "its machine has no disk");
  }
  for (const auto& disk : out.machine.disks) out.disks.push_back(to_disk(out, disk));
  read_manifest(out);
  return out;
}

}  // namespace px::image
