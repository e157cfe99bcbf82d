#include "cli/work.hpp"

#include "support/error.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>

#include <csignal>

namespace px::cli {

namespace {

using Work = std::function<awaitable<void>(pve::Client&)>;

awaitable<void> with_client(asio::thread_pool& pool, pve::Instance instance, Work work) {
  pve::Client client{co_await asio::this_coro::executor, pool, std::move(instance)};
  co_await work(client);
  co_await client.close();
}

awaitable<void> keep_error(awaitable<void> work, std::optional<Error>& failure) {
  try {
    co_await std::move(work);
  } catch (const Error& error) {
    failure = error;
  }
}

}  // namespace

void work(const std::function<awaitable<void>(asio::thread_pool& pool)>& what) {
  asio::io_context io{1};
  asio::thread_pool pool{1};
  asio::cancellation_signal cancel;
  asio::signal_set signals{io, SIGINT, SIGTERM};
  bool stopped = false;
  signals.async_wait([&](const boost::system::error_code& error, int) {
    if (error) return;
    stopped = true;
    cancel.emit(asio::cancellation_type::terminal);
    signals.async_wait([&](const boost::system::error_code& again, int) {
      if (!again) io.stop();
    });
  });
  std::exception_ptr failure;
  asio::co_spawn(io, what(pool),
                 asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr error) {
                   failure = error;
                   signals.cancel();
                 }));
  io.run();
  if (stopped) throw Error{Errc::cancelled, "stopped"};
  if (failure) std::rethrow_exception(failure);
}

void work_on(const pve::Instance& instance, Work on_client) {
  work([&](asio::thread_pool& pool) { return with_client(pool, instance, on_client); });
}

std::vector<std::optional<Error>> work_on_all(
    const std::vector<pve::Instance>& instances,
    const std::function<awaitable<void>(pve::Client&, std::size_t index)>& on_client) {
  std::vector<std::optional<Error>> failures(instances.size());
  work([&](asio::thread_pool& pool) -> awaitable<void> {
    std::vector<awaitable<void>> side_by_side;
    for (std::size_t i = 0; i < instances.size(); ++i) {
      auto on_this = [&on_client, i](pve::Client& client) { return on_client(client, i); };
      side_by_side.push_back(keep_error(with_client(pool, instances[i], on_this), failures[i]));
    }
    co_await all(std::move(side_by_side));
  });
  return failures;
}

}  // namespace px::cli
