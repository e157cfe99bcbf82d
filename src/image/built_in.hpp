#pragma once
#include "support/bytes.hpp"
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
  std::string_view file;  ///< its name in image_directories()
  std::string_view how;   ///< how to get the file
  std::string_view user;  ///< that the image has beside root
  /// A dated release, which stays as it is; empty: not on the net.
  std::string_view url{};
  HashKind kind = HashKind::sha256;
  std::string_view sum{};  ///< of what is at the URL, hexadecimal
  /// A server takes the file as it is; else it is unpacked here first.
  bool is_plain = true;
  /// A cloud image, which has no guest agent and asks for cloud-init: it is started once, what is
  /// missing is installed, and what clones must not share is removed (first_boot.hpp).
  bool needs_first_boot = false;
  /// Installed then, beside the agent and what Inspect's tools need, where those are missing, too.
  std::string_view packages{};
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

/// That it is neither here nor, as a template, on the node, nor to be had (`why`); says what to do.
Error missing_file(const BuiltIn& built_in, std::string_view node, std::string_view why = {});

}  // namespace px::image
