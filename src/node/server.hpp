#pragma once
#include "node/access.hpp"
#include "node/cluster.hpp"
#include "node/faults.hpp"
#include "node/route.hpp"
#include "node/state.hpp"
#include "support/async.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

namespace px::node {

struct ServerOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8006;  ///< 0 = any that is free
  /// Serve /_control/... too.
  bool control = false;
  /// The real server holds each 401 back so long (pve-facts section 1). Tests shorten it.
  std::chrono::milliseconds refusal_delay{3000};
};

/// The HTTPS server in front of the cluster's routes: the same framing, limits and refusals as
/// pveproxy (pve-facts section 2).
class Server {
 public:
  /// Makes the certificate at the first start, and listens. Throws Error{unreachable} when the
  /// port is taken.
  Server(asio::any_io_executor executor, State& state, Cluster& cluster, Access& access,
         Faults& faults, std::filesystem::path spool, ServerOptions options);
  ~Server();

  std::uint16_t port() const noexcept;
  /// SHA-256 of the certificate, with colons.
  const std::string& fingerprint() const noexcept;

  /// Called for each request that changes something: method, path, user, status.
  std::function<void(const std::string&, const std::string&, const std::string&, int)> on_request;

  /// Accepts until stop().
  awaitable<void> run();
  /// Ends all calls and connections, and returns when they have ended.
  awaitable<void> stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace px::node
