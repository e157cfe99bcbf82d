#pragma once
#include "pve/body_source.hpp"
#include "pve/instance.hpp"
#include "pve/websocket.hpp"
#include "support/async.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// HTTPS to one server: single requests, and the pool of connections kept alive between them.
/// The only client-side files that know Beast are connection.cpp and websocket.cpp.
namespace px::pve {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  ///< GET, POST, PUT, DELETE
  std::string target;  ///< path and query, percent-encoded
  Headers headers;     ///< without Host, Content-Length and Connection
  std::string body;
  BodySource* stream = nullptr;  ///< instead of `body`; must outlive the request
  bool fresh = false;            ///< on a connection of its own
};

struct HttpResponse {
  int status = 0;
  std::string reason;
  Headers headers;
  std::string body;

  /// The last header of that name (any case), or empty.
  std::string_view header(std::string_view name) const noexcept;
};

/// What the server allows a connection (pve-facts section 2: idle 5 s, 100 requests, closed after
/// any error answer). We stay below: a connection that the server closes while we write leaves us
/// in doubt whether the request was acted upon.
struct KeepAlive {
  std::chrono::milliseconds idle_for_reads{4000};
  std::chrono::milliseconds idle_for_writes{3000};
  int requests = 99;
};

/// Whether the connection stays usable after this answer. Of several Connection headers the last
/// counts: answers of protected calls carry the inner server's `close` first.
bool stays_open(const HttpResponse& response);

/// Parses `AA:BB:...` or plain hexadecimal, 64 digits; returns lower-case hexadecimal without
/// colons. Throws Error{bad_input}.
std::string parse_fingerprint(std::string_view text);
/// `AA:BB:...`, as Proxmox VE shows it.
std::string show_fingerprint(std::string_view hex);

/// The connections to one server. One I/O thread.
///
/// Errors are px::Error of kind unreachable, tls, protocol; `sent` is Sent::no until the request
/// begins to go out and Sent::maybe from then on. A cancelled request closes its connection.
class ConnectionPool {
 public:
  /// Throws Error{bad_input} for a bad fingerprint or a CA file that can't be read.
  ConnectionPool(asio::any_io_executor executor, const Instance& instance);
  ~ConnectionPool();
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;

  /// Sends one request, on a kept connection where that is safe. Any answer is a result.
  awaitable<HttpResponse> send(const HttpRequest& request);

  /// Makes a GET a WebSocket, on a connection of its own. Errors beside those of send(): what
  /// classify() makes of an answer that is no 101.
  awaitable<std::unique_ptr<WebSocket>> open_socket(HttpRequest request);

  /// Closes idle connections. Requests under way go on.
  void close_idle();

  /// How many connections were made so far.
  std::uint64_t opened() const noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace px::pve
