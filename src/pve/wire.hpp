#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <openssl/x509_vfy.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <sys/socket.h>

/// For connection.cpp and websocket.cpp only: it includes Beast.
namespace px::pve {

/// What OpenSSL thought of the server's certificate.
struct Verdict {
  int error = X509_V_OK;
  std::string fingerprint;  ///< of the server's own certificate
};

/// One TLS connection.
struct Wire {
  Wire(const boost::asio::any_io_executor& executor, boost::asio::ssl::context& context)
      : stream{executor, context} {}

  boost::asio::ssl::stream<boost::asio::ip::tcp::socket> stream;
  boost::beast::flat_buffer buffer;
  Verdict verdict;
  int served = 0;
  std::chrono::steady_clock::time_point idle_since{};

  /// False when the server has closed, or says something unasked.
  bool is_quiet() {
    char byte = 0;
    const auto got = ::recv(stream.next_layer().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }
};

}  // namespace px::pve
