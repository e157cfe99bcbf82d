#pragma once
#include "support/async.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <nanobind/nanobind.h>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

/// How a coroutine of the core looks to Python: an object with a file descriptor that becomes
/// readable at its end, so that asyncio and trio alike can wait for it without a thread.
namespace px::python {

/// Shared by the Python object and the coroutine's completion, whichever lives longer.
class OperationState : public std::enable_shared_from_this<OperationState> {
 public:
  explicit OperationState(asio::io_context& io);
  OperationState(const OperationState&) = delete;
  OperationState& operator=(const OperationState&) = delete;
  ~OperationState();

  int fd() const noexcept { return fd_; }
  bool done() const;
  /// Any thread.
  void cancel();
  /// Closes the descriptor; a later end is then kept to itself.
  void close();
  /// On the Python thread, with the GIL, after the end. Rethrows the operation's error.
  nanobind::object result();

  asio::cancellation_slot slot() { return signal_.slot(); }
  /// `make_result` runs later, with the GIL.
  void finish(std::exception_ptr error, std::function<nanobind::object()> make_result);

 private:
  asio::io_context& io_;
  mutable std::mutex mutex_;
  int fd_;
  bool done_ = false;
  std::exception_ptr error_;
  std::function<nanobind::object()> make_result_;
  asio::cancellation_signal signal_;
};

/// Starts `work` on the core's thread. `to_python` turns its result into a Python object, with the
/// GIL, when Python asks for it.
template <class T, class F>
std::shared_ptr<OperationState> start(asio::io_context& io, awaitable<T> work, F to_python) {
  auto state = std::make_shared<OperationState>(io);
  // Spawning, cancelling and ending all happen on the core's thread: a signal is no atomic.
  asio::post(io, [&io, state, work = std::make_shared<awaitable<T>>(std::move(work)),
                  to_python = std::move(to_python)]() mutable {
    auto done = [state, to_python = std::move(to_python)](std::exception_ptr error, T value) {
      if (error) {
        state->finish(error, {});
        return;
      }
      auto kept = std::make_shared<T>(std::move(value));
      state->finish({}, [kept, to_python] { return to_python(std::move(*kept)); });
    };
    asio::co_spawn(io, std::move(*work),
                   asio::bind_cancellation_slot(state->slot(), std::move(done)));
  });
  return state;
}

std::shared_ptr<OperationState> start(asio::io_context& io, awaitable<void> work);

}  // namespace px::python
