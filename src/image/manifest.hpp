#pragma once
#include "support/bytes.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace px::image {

/// As manifests write it: SHA1, SHA256, SHA512.
std::string_view name_of(HashKind kind) noexcept;

/// One line of a manifest: `SHA256(disk1.vmdk)= 6ae3...`.
struct ManifestEntry {
  std::string file;
  HashKind kind = HashKind::sha256;
  std::string hex;  ///< lower case
};

/// The manifest of an OVF package (DSP0243, "OVF package manifest"). `where` names it in errors.
/// Throws Error{bad_input} with the line for what is no such line, an unknown algorithm, a sum of
/// the wrong length, and a file named twice.
std::vector<ManifestEntry> parse_manifest(std::string_view text, const std::string& where);

}  // namespace px::image
