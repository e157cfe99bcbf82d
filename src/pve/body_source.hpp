#pragma once
#include "support/async.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace px::pve {

/// Where the bytes of a streamed request body come from. The size is known beforehand, for the
/// server wants a Content-Length.
class BodySource {
 public:
  virtual ~BodySource() = default;
  virtual std::uint64_t size() const = 0;
  /// From the start again: a request that was surely not acted upon is sent once more.
  virtual void rewind() = 0;
  /// Fills at most `room`; 0 only at the end. Throws when the bytes can't be had.
  virtual awaitable<std::size_t> read(std::span<char> room) = 0;
};

/// A part of a file, or all of it, read in the pool in pieces; never whole in memory. Throws
/// Error{bad_input} when it can't be opened, and when it becomes shorter while it is read.
std::unique_ptr<BodySource> file_source(asio::thread_pool& pool, std::filesystem::path path,
                                        std::uint64_t offset = 0, std::uint64_t size = UINT64_MAX);

/// Pieces in memory, one after the other.
std::unique_ptr<BodySource> memory_source(std::vector<std::string> pieces);

}  // namespace px::pve
