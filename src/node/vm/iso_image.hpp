#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace px::node {

/// Writes an ISO 9660 image with Rock Ridge and Joliet names. `label`: up to 16 characters, kept in
/// their case. `files`: contents by path, `openstack/latest/user_data`. The image is padded to
/// `bytes` and takes the place of an older one at once. Blocks.
/// Throws Error{internal} naming the file.
void write_iso_image(const std::filesystem::path& image, const std::string& label,
                     const std::map<std::string, std::string>& files, std::uint64_t bytes);

}  // namespace px::node
