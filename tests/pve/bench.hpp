#pragma once
#include "pve/client.hpp"
#include "run.hpp"
#include "tls_server.hpp"

#include <boost/asio/thread_pool.hpp>

#include <functional>
#include <memory>

namespace px::testing {

/// A server with a handler, and a client of it, inside one I/O context.
struct Bench {
  Bench(const asio::any_io_executor& executor_, TlsServer::Handler handler,
        const Certificate& certificate)
      : executor{executor_}, server{executor_, certificate, std::move(handler)} {}

  /// Pinned, with a token, so that no login is needed.
  pve::Instance instance() const {
    pve::Instance out;
    out.host = "127.0.0.1";
    out.port = server.port();
    out.node = "pve1";
    out.token_id = "root@pam!test";
    out.token_secret = Secret{"11111111-2222-3333-4444-555555555555"};
    out.fingerprint = server.certificate().fingerprint;
    return out;
  }
  pve::Instance instance_with_password() const {
    auto out = instance();
    out.token_id.clear();
    out.token_secret = {};
    out.password = Secret{"swordfish"};
    return out;
  }

  asio::any_io_executor executor;
  asio::thread_pool pool{1};
  TlsServer server;
};

/// One certificate for all tests that don't look at it.
inline const Certificate& usual_certificate() {
  static const Certificate certificate = make_certificate();
  return certificate;
}

/// Runs `test` with a server that answers by `handler`.
inline void with_server(TlsServer::Handler handler, std::function<awaitable<void>(Bench&)> test,
                        const Certificate& certificate = usual_certificate()) {
  const auto body = [&]() -> awaitable<void> {
    Bench bench{co_await asio::this_coro::executor, std::move(handler), certificate};
    std::exception_ptr failure;
    try {
      co_await test(bench);
    } catch (...) {
      failure = std::current_exception();
    }
    co_await bench.server.end();
    if (failure) std::rethrow_exception(failure);
  };
  run(body());
}

}  // namespace px::testing
