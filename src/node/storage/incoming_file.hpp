#pragma once
#include "node/route.hpp"
#include "node/storage/storages.hpp"
#include "node/vm/disks.hpp"

#include <filesystem>
#include <string>

/// What is asked of a file that comes into a storage from outside, by upload or by download.
namespace px::node {

/// As the server cleans names: directories dropped, blanks and what is no ASCII replaced.
std::string clean_file_name(std::string_view name);
/// Throws ApiError 400 for a name that is not of the content (pve-storage API2/Storage/Status.pm).
void check_file_name(const std::string& content, const std::string& name);

/// What is looked at before a file is taken: a disk image must be one, and name no other file; an
/// OVA must hold an OVF. `name` says which of these it is. Blocks. Throws Error{rejected}.
void check_contents(Disks& disks, const std::filesystem::path& file, const std::string& name);

/// A checksum that was promised.
struct Checksum {
  std::string algorithm;  ///< md5, sha1, sha224, ...; empty = none was promised
  std::string digest;     ///< hexadecimal, lower case
  static Checksum of(const Call& call);
};
/// Reads the whole file, so call it through run_in_pool. Throws ApiError 500 "checksum mismatch:
/// got ...".
void verify(const Checksum& checksum, const std::filesystem::path& file);

}  // namespace px::node
