#include "node/vm/disks.hpp"

#include "support/error.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <string>
#include <vector>

namespace px::node {

namespace {

std::string one_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  for (auto& c : text) {
    if (c == '\n') c = ' ';
  }
  return text;
}

std::string qemu_img(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "qemu-img");
  const ToolResult result = run_tool(arguments);
  if (result.exit_code != 0) throw Error{Errc::rejected, one_line(result.errors)};
  return result.output;
}

/// Runs qemu-img to make `image`; what a failure leaves is removed.
void make(const std::filesystem::path& image, std::vector<std::string> arguments) {
  std::filesystem::create_directories(image.parent_path());
  try {
    qemu_img(std::move(arguments));
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(image, ignored);
    throw;
  }
}

json::value info(const std::filesystem::path& image, const std::string& format) {
  return json::parse(qemu_img({"info", "-U", "-f", format, "--output=json", image.string()}),
                     "qemu-img info");
}

/// Whether a VMDK consists of other files, by its first bytes: all but a sparse one (`KDMV`, or
/// `COWD` of older ESX servers) is a text that names them, and so is a sparse one of capacity 0
/// (VMware's Virtual Disk Format 1.1; QEMU block/vmdk.c).
bool names_extents(const std::filesystem::path& image) {
  constexpr std::size_t capacity = 12;
  std::array<char, 20> head{};
  std::ifstream{image, std::ios::binary}.read(head.data(), head.size());
  const std::string_view magic{head.data(), 4};
  if (magic == "COWD") return false;
  return magic != "KDMV" ||
         std::all_of(head.begin() + capacity, head.end(), [](char c) { return c == 0; });
}

[[noreturn]] void refuse_reference(const std::filesystem::path& image) {
  throw Error{Errc::rejected, fmt::format("image '{}' is not trusted: it refers to another file",
                                          image.filename().string())};
}

void touch(const std::filesystem::path& file) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream{file, std::ios::app};
}

}  // namespace

std::uint64_t QemuDisks::size(const Path& image, const std::string& format) {
  return static_cast<std::uint64_t>(json::number_at(info(image, format), "virtual-size"));
}

std::uint64_t QemuDisks::size_of_import(const Path& image, const std::string& format) {
  // Before QEMU looks: it opens what a descriptor names, over the network too.
  if (format == "vmdk" && names_extents(image)) refuse_reference(image);
  const json::value about = info(image, format);
  const json::value* details = json::find(about, "format-specific");
  if (details != nullptr) details = json::find(*details, "data");
  if (json::find(about, "backing-filename") != nullptr ||
      (details != nullptr && json::find(*details, "data-file") != nullptr)) {
    refuse_reference(image);
  }
  return static_cast<std::uint64_t>(json::number_at(about, "virtual-size"));
}

void QemuDisks::create(const Path& image, const std::string& format, std::uint64_t bytes) {
  make(image, {"create", "-q", "-f", format, image.string(), std::to_string(bytes)});
}

void QemuDisks::create_linked(const Path& image, const Path& base, const std::string& base_format) {
  // Relative, as PVE writes it: the state directory may be moved.
  const Path relative = base.lexically_relative(image.parent_path());
  make(image,
       {"create", "-q", "-f", "qcow2", "-b", relative.string(), "-F", base_format, image.string()});
}

void QemuDisks::copy(const Path& from, const std::string& from_format, const Path& image,
                     const std::string& format) {
  make(image, {"convert", "-q", "-f", from_format, "-O", format, from.string(), image.string()});
}

void QemuDisks::resize(const Path& image, const std::string& format, std::uint64_t bytes) {
  qemu_img({"resize", "-q", "-f", format, image.string(), std::to_string(bytes)});
}

void QemuDisks::save_snapshot(const Path& image, const std::string& name) {
  qemu_img({"snapshot", "-q", "-c", name, image.string()});
}

void QemuDisks::load_snapshot(const Path& image, const std::string& name) {
  qemu_img({"snapshot", "-q", "-a", name, image.string()});
}

void QemuDisks::delete_snapshot(const Path& image, const std::string& name) {
  qemu_img({"snapshot", "-q", "-d", name, image.string()});
}

std::uint64_t SimulatedDisks::size(const Path& image, const std::string& /*format*/) {
  return std::filesystem::file_size(image);
}

std::uint64_t SimulatedDisks::size_of_import(const Path& image, const std::string& /*format*/) {
  return std::filesystem::file_size(image);
}

void SimulatedDisks::create(const Path& image, const std::string& /*format*/,
                            std::uint64_t /*bytes*/) {
  touch(image);
}

void SimulatedDisks::create_linked(const Path& image, const Path& /*base*/,
                                   const std::string& /*base_format*/) {
  touch(image);
}

void SimulatedDisks::copy(const Path& /*from*/, const std::string& /*from_format*/,
                          const Path& image, const std::string& /*format*/) {
  touch(image);
}

}  // namespace px::node
