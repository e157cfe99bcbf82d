#pragma once
#include "image/web_handle.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace px::image {

/// A file of the web, read in parts: an appliance's headers do not need the rest of it. Blocks. Not
/// thread-safe.
class WebParts {
 public:
  /// Asks for the first part. Throws as WebHandle does, and Error{unsupported} when the server
  /// sends whole files only.
  explicit WebParts(const std::string& url);

  std::uint64_t size() const noexcept { return size_; }
  std::string read(std::uint64_t at, std::size_t count);

 private:
  const std::string& block(std::uint64_t number);
  void ask(std::uint64_t number);
  std::size_t take(std::string_view bytes);

  WebHandle web_;
  std::string url_;
  std::uint64_t size_ = 0;
  std::string answer_;  ///< to the request under way
  std::map<std::uint64_t, std::string> blocks_;
};

}  // namespace px::image
