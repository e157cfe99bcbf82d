#pragma once
#include "image/built_in.hpp"
#include "support/async.hpp"

#include <filesystem>

namespace px::image {

/// Fetches a built-in's file to `images` in cache_directory(), by wget, which goes on where an
/// earlier attempt was cut off; checks its sum. One process at a time; the others find the file.
/// Errors: unreachable (with wget's words), unsupported (there is no wget), bad_input (the sum is
/// another), rejected (no room).
awaitable<std::filesystem::path> download(asio::thread_pool& pool, const BuiltIn& built_in);

}  // namespace px::image
