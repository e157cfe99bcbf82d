#pragma once
#include "support/error.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

/// Small coroutine tools on Boost.Asio. All of them belong to one I/O thread: the executor a
/// coroutine runs on must be single-threaded, and only run_in_pool() leaves it.
///
/// Cancellation is Asio's: cancelling a coroutine makes the operation it waits for throw
/// boost::system::system_error(operation_aborted); is_cancellation() recognises it.
namespace px {

namespace asio = boost::asio;
using asio::awaitable;
using SteadyTime = std::chrono::steady_clock::time_point;

/// Waits; throws when cancelled.
awaitable<void> sleep_for(std::chrono::steady_clock::duration pause);

/// True for the exception that a cancelled wait throws.
bool is_cancellation(const std::exception_ptr& error) noexcept;

/// The limit of a wait. Passed down, so that every wait below ends together.
class Deadline {
 public:
  static Deadline after(std::chrono::steady_clock::duration span) {
    return Deadline{std::chrono::steady_clock::now() + span};
  }
  static Deadline never() { return Deadline{SteadyTime::max()}; }
  explicit Deadline(SteadyTime when) : when_{when} {}

  SteadyTime when() const noexcept { return when_; }
  bool passed(SteadyTime now) const noexcept { return now >= when_; }
  /// Zero once passed.
  std::chrono::steady_clock::duration left(SteadyTime now) const noexcept {
    return passed(now) ? std::chrono::steady_clock::duration::zero() : when_ - now;
  }
  Deadline sooner(Deadline other) const noexcept {
    return Deadline{when_ < other.when_ ? when_ : other.when_};
  }

 private:
  SteadyTime when_;
};

/// Runs `operation`; when `limit` passes first, cancels it, waits for its end and throws
/// Error{timeout} (`doing` and the limit in the text). The operation's own error wins.
///
/// Of this and of all below: when the caller is cancelled meanwhile, that is what is thrown,
/// whatever else went wrong.
awaitable<void> with_deadline(awaitable<void> operation, Deadline limit, std::string doing);

/// The same for an operation with a result.
template <class T>
awaitable<T> with_deadline(awaitable<T> operation, Deadline limit, std::string doing) {
  std::optional<T> result;
  auto keep = [](awaitable<T> inner, std::optional<T>& out) -> awaitable<void> {
    out.emplace(co_await std::move(inner));
  };
  co_await with_deadline(keep(std::move(operation), result), limit, std::move(doing));
  co_return std::move(*result);
}

/// Runs all side by side and returns when every one has ended. The first error cancels the rest
/// (when `stop_at_first_error`), and is thrown at the end; being cancelled cancels all.
awaitable<void> all(std::vector<awaitable<void>> operations, bool stop_at_first_error = true);

/// Runs `work` in a pool thread and returns its result on the caller's executor. Not cancelled
/// midway: the coroutine resumes when the work is done.
template <class F>
auto run_in_pool(asio::thread_pool& pool, F work) -> awaitable<std::invoke_result_t<F>>;

/// Runs `operation` to its end even if the caller is cancelled meanwhile; afterwards the caller's
/// cancellation goes on. For clean-up, with a deadline of its own inside.
awaitable<void> shielded(awaitable<void> operation);

/// Runs `body`, then `cleanup` to its end, whatever became of the body and however often the caller
/// is cancelled. After that the body's error wins; an error of the clean-up alone is thrown.
awaitable<void> with_cleanup(awaitable<void> body, awaitable<void> cleanup);

/// The same, but `undo` is run only after a body that failed or was cancelled.
awaitable<void> with_undo(awaitable<void> body, awaitable<void> undo);

/// Runs `body`, and `beside` as long as it lasts. When `beside` fails first, the body is cancelled
/// and that error is thrown; its end alone changes nothing.
awaitable<void> with_company(awaitable<void> body, awaitable<void> beside);

/// So many at once, first come first served. Not thread-safe: one I/O thread.
class Semaphore {
 public:
  explicit Semaphore(std::size_t permits) : free_{permits} {}
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  /// Gives the permit back when it goes. Must not outlive the semaphore.
  class Permit {
   public:
    Permit() = default;
    explicit Permit(Semaphore& owner) : owner_{&owner} {}
    Permit(Permit&& other) noexcept : owner_{std::exchange(other.owner_, nullptr)} {}
    Permit& operator=(Permit&& other) noexcept {
      if (this != &other) {
        release();
        owner_ = std::exchange(other.owner_, nullptr);
      }
      return *this;
    }
    ~Permit() { release(); }
    void release() noexcept {
      if (owner_ != nullptr) std::exchange(owner_, nullptr)->give_back();
    }

   private:
    Semaphore* owner_ = nullptr;
  };

  /// Waits for a permit; a cancelled wait leaves no trace.
  awaitable<Permit> acquire();
  std::size_t waiting() const noexcept { return waiters_.size(); }

 private:
  struct Waiter {
    asio::steady_timer timer;
    bool granted = false;
  };
  void give_back() noexcept;

  std::size_t free_;
  std::deque<std::shared_ptr<Waiter>> waiters_;
};

/// A value or event that coroutines wait for, set once. One I/O thread.
class Event {
 public:
  explicit Event(const asio::any_io_executor& executor) : timer_{executor, SteadyTime::max()} {}
  void set() {
    set_ = true;
    timer_.cancel();
  }
  bool is_set() const noexcept { return set_; }
  /// Returns at once when set; throws when cancelled.
  awaitable<void> wait();

 private:
  asio::steady_timer timer_;
  bool set_ = false;
};

}  // namespace px

#include "support/async_impl.hpp"
