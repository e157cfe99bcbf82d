#include "image/built_in.hpp"

#include "support/error.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdlib>

namespace px::image {

namespace {

constexpr std::array<BuiltIn, 1> all_built_ins{{
    {"debian13-small", "debian13-small.qcow2",
     "`make image` in a checkout of Proxmox Sandbox builds it"},
}};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::span<const BuiltIn> built_ins() {
  return all_built_ins;
}

const BuiltIn& find_built_in(std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto& built_in : all_built_ins) {
    if (built_in.name == name) return built_in;
    names.push_back(built_in.name);
  }
  throw_bad_input("vm_source_config.built_in", name,
                  fmt::format("the built-ins of this version are: {}", fmt::join(names, ", ")));
}

std::filesystem::path cache_directory() {
  const std::string cache = variable("XDG_CACHE_HOME");
  const std::filesystem::path base = cache.empty()
                                         ? std::filesystem::path{variable("HOME")} / ".cache"
                                         : std::filesystem::path{cache};
  return base / "proxmox-sandbox";
}

std::vector<std::filesystem::path> image_directories() {
  std::vector<std::filesystem::path> out;
  const std::string list = variable("PROXMOX_SANDBOX_IMAGES");
  for (std::size_t at = 0; at < list.size();) {
    const auto colon = std::min(list.find(':', at), list.size());
    if (colon > at) out.emplace_back(list.substr(at, colon - at));
    at = colon + 1;
  }
  out.push_back(cache_directory() / "images");
  return out;
}

std::optional<std::filesystem::path> file_of(const BuiltIn& built_in) {
  for (const auto& directory : image_directories()) {
    std::error_code error;
    auto file = directory / built_in.file;
    if (std::filesystem::is_regular_file(file, error)) return file;
  }
  return std::nullopt;
}

Error missing_file(const BuiltIn& built_in, std::string_view node) {
  std::vector<std::string> directories;
  for (const auto& directory : image_directories()) directories.push_back(directory.string());
  return Error{Errc::not_found,
               fmt::format("vm_source_config.built_in: there is no template of {} on node {}, and "
                           "no file {} in {}",
                           built_in.name, node, built_in.file, fmt::join(directories, " or "))}
      .with_hint(fmt::format("{}; PROXMOX_SANDBOX_IMAGES names its directory.", built_in.how));
}

}  // namespace px::image
