#pragma once
#include "support/async.hpp"

#include <boost/asio/local/stream_protocol.hpp>

#include <filesystem>
#include <string>
#include <string_view>

namespace px::node {

/// A unix socket of QEMU's: the monitor and the guest agent with one JSON text a line, or a serial
/// port with any bytes.
///
/// A cancelled read loses nothing: what had come stays in the buffer for the next one.
class LineSocket {
 public:
  LineSocket(const asio::any_io_executor& executor, std::filesystem::path path)
      : path_{std::move(path)}, socket_{executor} {}

  /// Connects; Error{unreachable} when nobody listens. The path may be of any length.
  awaitable<void> connect();
  bool is_open() const noexcept { return socket_.is_open(); }
  void close() noexcept;

  /// Error{unreachable} when the other end is gone; a write that was cut short closes the socket.
  awaitable<void> write(std::string text);
  /// The next line, without its end. At most 96 MiB.
  awaitable<std::string> read_line();
  /// What comes next, at most 4 KiB. Not beside read_line().
  awaitable<std::string> read_some();

 private:
  std::filesystem::path path_;
  asio::local::stream_protocol::socket socket_;
  std::string buffer_;
};

}  // namespace px::node
