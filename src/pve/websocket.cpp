#include "pve/websocket.hpp"

#include "pve/classify.hpp"
#include "pve/upgrade.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <boost/beast/websocket/stream.hpp>

namespace px::pve {

namespace {

namespace beast = boost::beast;
namespace websocket = boost::beast::websocket;
using boost::system::error_code;

constexpr std::size_t largest_message = 256u << 10;

class TlsWebSocket : public WebSocket {
 public:
  explicit TlsWebSocket(std::unique_ptr<Wire> wire)
      : wire_{std::move(wire)}, stream_{wire_->stream} {
    stream_.read_message_max(largest_message);
    stream_.binary(true);
  }

  awaitable<void> shake_hands(const HttpRequest& request, const std::string& host) {
    stream_.set_option(websocket::stream_base::decorator{[&](websocket::request_type& head) {
      for (const auto& [name, value] : request.headers) head.set(name, value);
      // The one that the server speaks (pve-facts section 13).
      head.set(beast::http::field::sec_websocket_protocol, "binary");
    }});
    websocket::response_type answer;
    error_code failure;
    co_await stream_.async_handshake(answer, host, request.target,
                                     asio::redirect_error(asio::use_awaitable, failure));
    if (!failure) co_return;
    if (failure != websocket::error::upgrade_declined) throw boost::system::system_error{failure};
    throw classify(static_cast<int>(answer.result_int()), answer.reason(), answer.body(), "GET",
                   request.target.substr(0, request.target.find('?')));
  }

  awaitable<std::optional<std::string>> receive() override {
    beast::flat_buffer message;
    error_code failure;
    co_await stream_.async_read(message, asio::redirect_error(asio::use_awaitable, failure));
    if (failure == websocket::error::closed) co_return std::nullopt;
    if (failure) raise(failure);
    co_return beast::buffers_to_string(message.data());
  }

  awaitable<void> send(std::string message) override {
    error_code failure;
    co_await stream_.async_write(asio::buffer(message),
                                 asio::redirect_error(asio::use_awaitable, failure));
    if (failure) raise(failure);
  }

 private:
  [[noreturn]] static void raise(const error_code& code) {
    if (code == asio::error::operation_aborted) throw boost::system::system_error{code};
    throw Error{Errc::unreachable, code.message()};
  }

  std::unique_ptr<Wire> wire_;
  websocket::stream<asio::ssl::stream<asio::ip::tcp::socket>&, false> stream_;
};

}  // namespace

awaitable<std::unique_ptr<WebSocket>> upgrade(std::unique_ptr<Wire> wire, HttpRequest request,
                                              std::string host) {
  auto socket = std::make_unique<TlsWebSocket>(std::move(wire));
  co_await socket->shake_hands(request, host);
  co_return socket;
}

}  // namespace px::pve
