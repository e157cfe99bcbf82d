#pragma once
#include "support/async.hpp"

#include <optional>
#include <string>

namespace px::pve {

/// A WebSocket (RFC 6455) to a server. One reader and one writer at a time; who is cancelled
/// closes it.
class WebSocket {
 public:
  virtual ~WebSocket() = default;
  /// The next message, at most 256 KiB; nothing once the server has closed. Throws
  /// Error{unreachable} when the connection is torn.
  virtual awaitable<std::optional<std::string>> receive() = 0;
  virtual awaitable<void> send(std::string message) = 0;
};

}  // namespace px::pve
