#include "node/vm/disks.hpp"

#include "node/vm/process.hpp"
#include "support/error.hpp"
#include "support/json.hpp"

#include <string>
#include <vector>

namespace px::node::disks {

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
void make(const Path& image, std::vector<std::string> arguments) {
  std::filesystem::create_directories(image.parent_path());
  try {
    qemu_img(std::move(arguments));
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(image, ignored);
    throw;
  }
}

}  // namespace

std::uint64_t virtual_size(const Path& image, std::string_view format) {
  const std::string text =
      qemu_img({"info", "-U", "-f", std::string{format}, "--output=json", image.string()});
  return static_cast<std::uint64_t>(
      json::number_at(json::parse(text, "qemu-img info"), "virtual-size"));
}

void create(const Path& image, std::string_view format, std::uint64_t bytes) {
  make(image, {"create", "-q", "-f", std::string{format}, image.string(), std::to_string(bytes)});
}

void create_linked(const Path& image, const Path& base, std::string_view base_format) {
  // Relative, as PVE writes it: the state directory may be moved.
  const Path relative = base.lexically_relative(image.parent_path());
  make(image, {"create", "-q", "-f", "qcow2", "-b", relative.string(), "-F",
               std::string{base_format}, image.string()});
}

void copy(const Path& from, std::string_view from_format, const Path& image,
          std::string_view format) {
  make(image, {"convert", "-q", "-W", "-f", std::string{from_format}, "-O", std::string{format},
               from.string(), image.string()});
}

void resize(const Path& image, std::string_view format, std::uint64_t bytes) {
  qemu_img({"resize", "-q", "-f", std::string{format}, image.string(), std::to_string(bytes)});
}

void save_snapshot(const Path& image, std::string_view name) {
  qemu_img({"snapshot", "-q", "-c", std::string{name}, image.string()});
}

void load_snapshot(const Path& image, std::string_view name) {
  qemu_img({"snapshot", "-q", "-a", std::string{name}, image.string()});
}

void delete_snapshot(const Path& image, std::string_view name) {
  qemu_img({"snapshot", "-q", "-d", std::string{name}, image.string()});
}

}  // namespace px::node::disks
