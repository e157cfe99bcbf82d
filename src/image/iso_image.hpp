#pragma once
#include <map>
#include <string>

namespace px::image {

/// An ISO 9660 image with Joliet names: of the same files always the same bytes. `label`: up to 16
/// characters, kept in their case. `files`: contents by name, no directories. Blocks, for
/// libarchive goes by a temporary file.
std::string iso_image(const std::string& label, const std::map<std::string, std::string>& files);

}  // namespace px::image
