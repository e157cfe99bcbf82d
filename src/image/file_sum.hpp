#pragma once
#include "support/bytes.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

/// Sums of files.
namespace px::image {

/// A sum that a file must have.
struct Checksum {
  HashKind kind = HashKind::sha256;
  std::string hex;  ///< lower case

  /// sha256 or sha512, as Proxmox VE's API names them, too.
  std::string algorithm() const;
  /// `sha256:6ae3...`
  std::string text() const;
};

/// `sha256:HEX` or `sha512:HEX`; without the word its length tells. Throws Error{bad_input} naming
/// `field`.
Checksum parse_checksum(std::string_view field, std::string_view text);

/// Bytes read so far and all of them. May throw: that ends the reading.
using SumProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// The sum of a file, in lower-case hexadecimal and constant memory. Blocks. Throws
/// Error{bad_input} when it can't be read.
std::string file_sum(const std::filesystem::path& path, HashKind kind,
                     const SumProgress& progress = {});

/// Its SHA-256.
std::string file_sha256(const std::filesystem::path& path, const SumProgress& progress = {});

}  // namespace px::image
