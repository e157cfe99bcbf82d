#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace px::image {

/// One GET of a file.
struct WebRequest {
  std::string url;
  std::filesystem::path target;  ///< it is written there; its time becomes the server's
  bool resume = false;           ///< behind what the target holds
  /// Only if the server's is newer than this one.
  std::filesystem::path unless_newer{};
  bool may_be_plain = false;  ///< https may lead to http: a checksum protects what comes
  std::function<void(std::uint64_t done, std::uint64_t total)> progress{};
  const std::atomic<bool>* stop = nullptr;
};

enum class WebEnd : std::uint8_t {
  whole,        ///< the target is the file
  not_newer,    ///< nothing was written
  cant_resume,  ///< nothing was written: ask for all of it
};

/// Blocks. Follows redirections. Errors: bad_input (an answer that is no file: its status, or its
/// being a page), unreachable (Sent::maybe: it broke on the way), tls, rejected (no space),
/// cancelled.
WebEnd transfer_from_web(const WebRequest& request);

}  // namespace px::image
