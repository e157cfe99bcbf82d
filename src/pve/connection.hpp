#pragma once
#include "pve/instance.hpp"
#include "support/async.hpp"

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace px::pve {

struct HttpRequest {
  std::string method;
  std::string target;  ///< path and query
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  /// For bodies that must not lie in memory: `length` bytes, asked for piece by piece after
  /// `body`. An empty piece before the end is an error.
  std::uint64_t stream_length = 0;
  std::function<awaitable<std::string>()> next_piece;
};

struct HttpResponse {
  int status = 0;
  std::string reason;
  std::string body;
};

/// HTTPS connections to one server, kept alive and used again within the server's limits: 5 s
/// idle, 100 requests, closed after any status of 400 or more (pve-facts section 2).
class ConnectionPool {
 public:
  /// Loads certificates. Throws Error{bad_input} for a CA file that can't be read.
  ConnectionPool(asio::any_io_executor executor, const Instance& instance);
  ~ConnectionPool();
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;

  /// Sends one request, once. `fresh`: on a connection of its own (uploads: a refused one makes
  /// the server take the rest of its body for the next request, pve-facts section 15).
  /// Errors: unreachable and tls with Sent::no when nothing was sent; unreachable and timeout with
  /// Sent::maybe otherwise.
  awaitable<HttpResponse> send(const HttpRequest& request, Deadline limit, bool fresh = false);

  /// Closes what is idle.
  void close_idle();

  /// TCP connections opened so far.
  std::uint64_t opened() const noexcept { return opened_; }

 private:
  class Connection;
  struct Tls;

  awaitable<std::shared_ptr<Connection>> connect();
  std::shared_ptr<Connection> take_idle();
  awaitable<void> exchange(const HttpRequest& request, bool fresh, HttpResponse& response,
                           bool& sent);

  asio::any_io_executor executor_;
  std::string host_;
  std::string port_;
  std::unique_ptr<Tls> tls_;
  std::list<std::shared_ptr<Connection>> idle_;
  std::uint64_t opened_ = 0;
};

}  // namespace px::pve
