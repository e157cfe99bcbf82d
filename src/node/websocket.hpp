#pragma once
#include "node/route.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/http/message.hpp>

/// For server.cpp only: it includes Beast.
namespace px::node {

using RequestHead = boost::beast::http::request_header<>;

/// Whether a request asks to become a WebSocket (RFC 6455 section 4.1).
bool asks_for_websocket(const RequestHead& request);

/// Answers such a request with 101, runs the conversation, and closes the WebSocket.
awaitable<void> converse(asio::ssl::stream<asio::ip::tcp::socket>& stream, RequestHead request,
                         std::function<awaitable<void>(Messages&)> conversation);

}  // namespace px::node
