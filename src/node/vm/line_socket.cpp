#include "node/vm/line_socket.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>

#include <fcntl.h>
#include <unistd.h>

namespace px::node {

namespace {

/// A 48 MiB answer of the agent is 64 MiB of base64 (guest-facts section 2).
constexpr std::size_t most_line = 96U << 20;
constexpr std::size_t longest_piece = 4096;

/// A cancelled operation throws as Asio does; one that ended because the socket was closed under it
/// (QEMU is gone) is no cancellation, though Asio calls it so.
[[noreturn]] void raise(const boost::system::error_code& error, bool still_open) {
  if (error == asio::error::operation_aborted && still_open) {
    throw boost::system::system_error{error};
  }
  throw Error{Errc::unreachable, error.message()};
}

/// The name of a directory that stays short: a socket's path has at most 107 bytes.
class ShortDirectory {
 public:
  explicit ShortDirectory(const std::filesystem::path& path)
      : descriptor_{::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)} {}
  ShortDirectory(const ShortDirectory&) = delete;
  ShortDirectory& operator=(const ShortDirectory&) = delete;
  ~ShortDirectory() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  std::string name() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

 private:
  int descriptor_;
};

}  // namespace

awaitable<void> LineSocket::connect() {
  close();
  const ShortDirectory directory{path_.parent_path()};
  const asio::local::stream_protocol::endpoint endpoint{directory.name() + "/" +
                                                        path_.filename().string()};
  boost::system::error_code error;
  co_await socket_.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
  if (error) {
    const bool still_open = socket_.is_open();
    close();
    raise(error, still_open);
  }
}

void LineSocket::close() noexcept {
  boost::system::error_code ignored;
  socket_.close(ignored);
  buffer_.clear();
}

awaitable<void> LineSocket::write(std::string text) {
  boost::system::error_code error;
  co_await asio::async_write(socket_, asio::buffer(text),
                             asio::redirect_error(asio::use_awaitable, error));
  if (error) {
    const bool still_open = socket_.is_open();
    close();
    raise(error, still_open);
  }
}

awaitable<std::string> LineSocket::read_line() {
  boost::system::error_code error;
  const std::size_t length =
      co_await asio::async_read_until(socket_, asio::dynamic_buffer(buffer_, most_line), '\n',
                                      asio::redirect_error(asio::use_awaitable, error));
  if (error) {
    const bool still_open = socket_.is_open();
    if (error != asio::error::operation_aborted) close();
    raise(error, still_open);
  }
  std::string line = buffer_.substr(0, length - 1);
  buffer_.erase(0, length);
  if (line.ends_with('\r')) line.pop_back();  // QEMU's monitor ends lines with CR LF
  co_return line;
}

awaitable<std::string> LineSocket::read_some() {
  if (!buffer_.empty()) co_return std::exchange(buffer_, {});
  std::string bytes(longest_piece, '\0');
  boost::system::error_code error;
  bytes.resize(co_await socket_.async_read_some(asio::buffer(bytes),
                                                asio::redirect_error(asio::use_awaitable, error)));
  if (error) raise(error, socket_.is_open());
  co_return bytes;
}

}  // namespace px::node
