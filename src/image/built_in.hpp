#pragma once
#include "support/error.hpp"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace px::image {

/// An image that users name by a word. Adding one is one entry in built_in.cpp.
struct BuiltIn {
  std::string_view name;
  std::string_view file;  ///< qcow2, in one of image_directories()
  std::string_view how;   ///< how to get the file
};

/// All of them.
std::span<const BuiltIn> built_ins();

/// Throws Error{bad_input} naming the known ones.
const BuiltIn& find_built_in(std::string_view name);

/// `${XDG_CACHE_HOME:-~/.cache}/proxmox-sandbox`.
std::filesystem::path cache_directory();

/// Where image files are looked for: PROXMOX_SANDBOX_IMAGES (directories with : between), then
/// `images` in cache_directory().
std::vector<std::filesystem::path> image_directories();

/// The built-in's file on this machine, if it is there.
std::optional<std::filesystem::path> file_of(const BuiltIn& built_in);

/// That it is neither here nor, as a template, on the node; says what to do.
Error missing_file(const BuiltIn& built_in, std::string_view node);

}  // namespace px::image
