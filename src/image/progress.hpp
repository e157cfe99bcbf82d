#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace px::image {

/// For what moves many bytes: log lines "WHAT: 120 of 1200 MB, 35 s left", at most one each 5 s,
/// and one at the end.
std::function<void(std::uint64_t done, std::uint64_t total)> show_progress(std::string what);

}  // namespace px::image
