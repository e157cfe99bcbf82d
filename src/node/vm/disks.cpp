#include "node/vm/disks.hpp"

#include "support/error.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

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

void touch(const std::filesystem::path& file) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream{file, std::ios::app};
}

}  // namespace

std::uint64_t QemuDisks::size_of_import(const Path& image, const std::string& format) {
  const json::value info = json::parse(
      qemu_img({"info", "-U", "-f", format, "--output=json", image.string()}), "qemu-img info");
  const json::value* details = json::find(info, "format-specific");
  if (details != nullptr) details = json::find(*details, "data");
  if (json::find(info, "backing-filename") != nullptr ||
      (details != nullptr && json::find(*details, "data-file") != nullptr)) {
    throw Error{Errc::rejected, fmt::format("image '{}' is not trusted: it refers to another file",
                                            image.filename().string())};
  }
  return static_cast<std::uint64_t>(json::number_at(info, "virtual-size"));
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
