#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace px::image {

/// What `make` says of a file's bytes, remembered in cache_directory() for later processes as long
/// as the file is the same: its place, inode, size, and times of change in nanoseconds. `what`
/// tells several sums of one file apart. Not remembered while the last change is less than two
/// seconds ago, or when it changes meanwhile, for a second change might leave no trace. Throws what
/// `make` throws.
std::string remembered_sum(const std::filesystem::path& file, std::string_view what,
                           const std::function<std::string()>& make);

}  // namespace px::image
