#include "node/websocket.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <boost/beast/websocket/stream.hpp>

namespace px::node {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
using boost::system::error_code;
using namespace std::chrono_literals;

constexpr std::size_t largest_message = 128u << 10;  // pve-facts section 13
constexpr auto closing_limit = 1s;

using Socket = websocket::stream<asio::ssl::stream<asio::ip::tcp::socket>&, false>;

class SocketMessages : public Messages {
 public:
  explicit SocketMessages(Socket& socket) : socket_{socket} {}

  awaitable<std::optional<std::string>> receive() override {
    beast::flat_buffer message;
    error_code failure;
    co_await socket_.async_read(message, asio::redirect_error(asio::use_awaitable, failure));
    if (failure == asio::error::operation_aborted) throw boost::system::system_error{failure};
    if (failure) co_return std::nullopt;
    co_return beast::buffers_to_string(message.data());
  }

  awaitable<void> send(std::string bytes) override {
    co_await socket_.async_write(asio::buffer(bytes), asio::use_awaitable);
  }

 private:
  Socket& socket_;
};

}  // namespace

bool asks_for_websocket(const RequestHead& request) {
  return websocket::is_upgrade(http::request<http::empty_body>{request});
}

awaitable<void> converse(asio::ssl::stream<asio::ip::tcp::socket>& stream, RequestHead request,
                         std::function<awaitable<void>(Messages&)> conversation) {
  Socket socket{stream};
  socket.read_message_max(largest_message);
  socket.binary(true);
  const auto protocol = request[http::field::sec_websocket_protocol];
  socket.set_option(websocket::stream_base::decorator{
      [chosen = std::string{protocol}](websocket::response_type& answer) {
        answer.erase(http::field::server);
        if (!chosen.empty()) answer.set(http::field::sec_websocket_protocol, chosen);
      }});
  co_await socket.async_accept(http::request<http::empty_body>{std::move(request)},
                               asio::use_awaitable);
  SocketMessages messages{socket};
  co_await conversation(messages);
  auto close = [](Socket& what) -> awaitable<void> {
    error_code ignored;
    co_await what.async_close(websocket::close_code::normal,
                              asio::redirect_error(asio::use_awaitable, ignored));
  };
  co_await with_deadline(close(socket), Deadline::after(closing_limit), "close");
}

}  // namespace px::node
