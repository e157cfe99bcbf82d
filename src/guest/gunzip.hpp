#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace px::guest {

/// Unpacks a gzip stream (several members too). Throws Error{protocol} on a broken stream and on
/// one that holds more than `limit` bytes.
std::string gunzip(std::string_view packed, std::uint64_t limit);

}  // namespace px::guest
