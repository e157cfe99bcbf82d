#include "image/recipe.hpp"

#include "image/appliance_vm.hpp"
#include "image/download.hpp"
#include "image/install_medium.hpp"
#include "image/ova.hpp"
#include "image/remembered_sum.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"
#include "support/log.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace px::image {

namespace {

namespace fs = std::filesystem;

/// Changes when a template made by an older version must not be used any more.
constexpr std::string_view recipe_version = "2";
/// The same, of those that were started once.
constexpr std::string_view first_boot_version = "1";

/// Letters, digits and -, for a VM's name and a tag.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 40)) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (fine) {
      out += c;
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  while (out.ends_with('-')) out.pop_back();
  return boost::algorithm::to_lower_copy(out.empty() ? "image" : out);
}

std::string content_tag(const Recipe& recipe, const std::string& sum) {
  auto shape = fmt::format("{}|{}|{}|{}|{}|{}", sum, recipe.scsihw, recipe.uefi, recipe.secure_boot,
                           recipe.os_type, recipe_version);
  for (const auto& disk : recipe.disks) shape += "|" + disk.slot;
  if (recipe.built_in != nullptr && recipe.built_in->needs_first_boot) {
    shape += fmt::format("|{}|{}", first_boot_version, recipe.built_in->packages);
  }
  if (recipe.medium) shape += fmt::format("|{}", recipe.disks.front().capacity);
  return std::string{content_prefix} + sha256_hex(shape).substr(0, 16);
}

std::string first_slot(const TemplateRequest& request) {
  return request.disk_controller == "ide" ? "ide0" : "scsi0";
}

std::string sum_of_file(const fs::path& file, HashKind kind = HashKind::sha256) {
  return remembered_sum(file, Checksum{kind, {}}.text(), [&] { return file_sum(file, kind); });
}

/// That of all its files where they lie beside its descriptor.
std::string sum_of_appliance(const Appliance& appliance) {
  const auto check = [&] { return check_ova(appliance).sha256; };
  return appliance.packed ? remembered_sum(appliance.path, "checked ova", check) : check();
}

std::uint64_t size_of_source(const fs::path& file) {
  return Window::of_file(file).size();
}

Recipe recipe_of_file(const TemplateRequest& request, const fs::path& file) {
  Recipe recipe;
  recipe.title = file.filename().string();
  recipe.name = "inspect-" + plain(file.stem().string());
  recipe.disks = {disk_of_file(file, first_slot(request))};
  return recipe;
}

Recipe recipe_of_built_in(const TemplateRequest& request, std::string& sum) {
  const BuiltIn& built_in = find_built_in(request.built_in);
  Recipe recipe;
  if (const auto file = file_of(built_in)) {
    recipe = recipe_of_file(request, *file);
    sum = sum_of_file(*file, built_in.kind);
    if (!built_in.sum.empty() && sum != built_in.sum) {
      log::info("{}: {} is not the image at {}; it is taken for what it is", built_in.name,
                file->string(), built_in.url);
    }
  } else if (!built_in.url.empty()) {
    take_from_web(built_in, first_slot(request), recipe);
    sum = built_in.sum;
  }
  recipe.built_in = &built_in;
  recipe.title = built_in.name;
  recipe.name = fmt::format("inspect-{}", plain(built_in.name));
  recipe.source_tag = fmt::format("builtin-{}", built_in.name);
  return recipe;
}

/// The appliance's slots, or all disks on the bus that the configuration names.
std::vector<std::string> slots_of(const TemplateRequest& request, const ApplianceVm& vm) {
  if (request.disk_controller.empty()) return vm.slots;
  std::vector<std::string> slots;
  for (std::size_t i = 0; i < vm.slots.size(); ++i) {
    slots.push_back(fmt::format("{}{}", request.disk_controller, i));
  }
  constexpr std::size_t most_ide = 4;
  if (request.disk_controller == "ide" && slots.size() > most_ide) {
    throw_bad_input("disk_controller", "ide",
                    fmt::format("{} has {} disks, and there is room for {}; use scsi",
                                request.ova.string(), slots.size(), most_ide));
  }
  return slots;
}

Recipe recipe_of_ova(const TemplateRequest& request, std::string& sum) {
  const auto appliance = read_ova(request.ova);
  const auto vm = vm_of(appliance);
  Recipe recipe;
  recipe.title = request.ova.filename().string();
  recipe.name = "inspect-" + plain(request.ova.stem().string());
  recipe.source_tag =
      fmt::format("ova-{}-{}", plain(request.ova.stem().string()), size_of_source(request.ova));
  if (request.disk_controller.empty() && !vm.scsihw.empty()) recipe.scsihw = vm.scsihw;
  const auto slots = slots_of(request, vm);
  for (std::size_t i = 0; i < appliance.disks.size(); ++i) {
    const auto& disk = appliance.disks[i];
    recipe.disks.push_back({.slot = slots.at(i),
                            .path = disk.size == 0 ? fs::path{} : disk.path,
                            .member = disk.file,
                            .offset = disk.offset,
                            .size = disk.size,
                            .format = disk.format,
                            .compression = disk.gzip ? Compression::gzip : Compression::none,
                            .capacity = disk.capacity});
  }
  if (recipe.disks.empty()) {
    throw_bad_input("vm_source_config.ova", request.ova.string(), "its VM has no disk");
  }
  if (!is_url(request.ova.string())) sum = sum_of_appliance(appliance);
  return recipe;
}

Recipe recipe_of_disk(const TemplateRequest& request, std::string& sum) {
  auto recipe = recipe_of_file(request, request.disk);
  recipe.source_tag =
      fmt::format("disk-{}-{}", plain(request.disk.stem().string()), recipe.disks.front().size);
  if (!is_url(request.disk.string())) sum = sum_of_file(request.disk);
  return recipe;
}

Recipe recipe_of_medium(const TemplateRequest& request, const std::string& file) {
  Recipe recipe;
  const auto stem = plain(fs::path{file}.stem().string());
  recipe.title = fs::path{file}.filename().string();
  recipe.name = "inspect-" + stem;
  RecipeDisk disk;
  disk.slot = first_slot(request);
  disk.capacity = static_cast<std::uint64_t>(request.disk_gb) << 30U;
  recipe.disks = {std::move(disk)};
  return recipe;
}

Recipe recipe_of_iso(const TemplateRequest& request, std::string& sum) {
  auto recipe = recipe_of_medium(request, request.iso);
  check_install_medium(request.iso);
  sum = sum_of_file(request.iso);
  recipe.medium = {request.iso, install_medium_name(sum), fs::file_size(request.iso)};
  recipe.source_tag =
      fmt::format("iso-{}-{}", plain(fs::path{request.iso}.stem().string()), recipe.medium->size);
  return recipe;
}

/// What a file of this machine has by now, or what a server will check.
void take_checksum(const TemplateRequest& request, Recipe& recipe, std::string& sum) {
  if (!request.checksum) return;
  const auto& file = !request.ova.empty()    ? request.ova
                     : !request.disk.empty() ? request.disk
                                             : fs::path{request.iso};
  if (is_url(file.string())) {
    recipe.web = WebSource{file.string(), *request.checksum};
    sum = request.checksum->hex;
    return;
  }
  const auto& wanted = *request.checksum;
  const auto seen = wanted.kind == HashKind::sha256 ? sum : sum_of_file(file, wanted.kind);
  if (seen == wanted.hex) return;
  throw_bad_input("vm_source_config.checksum", wanted.text(),
                  fmt::format("{} has {}", file.string(), Checksum{wanted.kind, seen}.text()));
}

}  // namespace

RecipeDisk disk_of_file(const fs::path& file, std::string slot) {
  const auto header = read_disk_header(file);
  return {.slot = std::move(slot),
          .path = file,
          .size = size_of_source(file),
          .format = header.format,
          .compression = header.compression,
          .capacity = header.virtual_size};
}

void take_from_web(const BuiltIn& built_in, std::string slot, Recipe& recipe) {
  recipe.web = WebSource{std::string{built_in.url}, {built_in.kind, std::string{built_in.sum}}};
  recipe.disks = {{.slot = std::move(slot),
                   .path = recipe.web->url,
                   .format = DiskFormat::qcow2,
                   .compression = built_in.is_plain ? Compression::none : Compression::xz}};
}

Recipe recipe_of_iso_volume(const TemplateRequest& request, pve::VolumeId volume,
                            std::string_view identity) {
  auto recipe = recipe_of_medium(request, std::string{volume.rest()});
  recipe.source_tag = "iso-" + recipe.name.substr(recipe.name.find('-') + 1);
  recipe.medium =
      InstallMedium{.path = {}, .file_name = {}, .size = 0, .volume = std::move(volume)};
  recipe.uefi = request.uefi;
  recipe.secure_boot = request.secure_boot;
  recipe.os_type = request.os_type;
  recipe.content_tag = content_tag(recipe, sha256_hex(identity));
  return recipe;
}

Recipe recipe_of_backup(const TemplateRequest& request, pve::VolumeId archive,
                        std::string_view identity) {
  Recipe recipe;
  recipe.title = archive.text();
  const auto rest = archive.rest();
  const auto name = plain(rest.substr(rest.rfind('/') + 1));
  recipe.name = "inspect-" + name;
  recipe.source_tag = "backup-" + name;
  recipe.uefi = request.uefi;
  recipe.os_type = request.os_type;
  recipe.content_tag = content_tag(recipe, sha256_hex(identity));
  recipe.archive = std::move(archive);
  return recipe;
}

Recipe recipe_of(const TemplateRequest& request) {
  std::string sum;
  Recipe recipe;
  if (!request.built_in.empty()) {
    recipe = recipe_of_built_in(request, sum);
  } else if (!request.ova.empty()) {
    recipe = recipe_of_ova(request, sum);
  } else if (!request.iso.empty()) {
    recipe = recipe_of_iso(request, sum);
  } else {
    recipe = recipe_of_disk(request, sum);
  }
  take_checksum(request, recipe, sum);
  recipe.uefi = request.uefi;
  recipe.secure_boot = request.secure_boot;
  recipe.os_type = request.os_type;
  if (!sum.empty()) recipe.content_tag = content_tag(recipe, sum);
  return recipe;
}

}  // namespace px::image
