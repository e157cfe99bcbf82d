#include "support/async.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/system/system_error.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace px {

namespace {

/// Started operations and the way to stop them; the parent waits until all have ended.
struct Group {
  explicit Group(const asio::any_io_executor& executor, std::size_t count)
      : ended{executor}, running{count}, signals(count) {}

  void cancel_all() {
    for (auto& signal : signals) signal.emit(asio::cancellation_type::terminal);
  }

  Event ended;
  std::size_t running;
  std::deque<asio::cancellation_signal> signals;
  std::exception_ptr first_error;
};

/// Waits for `event` through cancellations; true if there was one. `on_cancel` is called once.
awaitable<bool> wait_to_the_end(Event& event, const std::function<void()>& on_cancel) {
  bool cancelled = false;
  while (!event.is_set()) {
    bool again = false;
    try {
      co_await event.wait();
    } catch (const boost::system::system_error&) {
      again = true;
    }
    if (again && !cancelled) {
      cancelled = true;
      co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
      on_cancel();
    }
  }
  co_return cancelled;
}

/// Goes before any other error: who catches that and tries again would not end any more, for a
/// cancellation is told once.
[[noreturn]] void throw_cancelled() {
  throw boost::system::system_error{asio::error::operation_aborted};
}

}  // namespace

awaitable<void> sleep_for(std::chrono::steady_clock::duration pause) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer{executor, pause};
  co_await timer.async_wait(asio::use_awaitable);
}

bool is_cancellation(const std::exception_ptr& error) noexcept {
  if (!error) return false;
  try {
    std::rethrow_exception(error);
  } catch (const boost::system::system_error& e) {
    return e.code() == asio::error::operation_aborted;
  } catch (const Error& e) {
    return e.kind == Errc::cancelled;
  } catch (...) {
    return false;
  }
}

awaitable<void> all(std::vector<awaitable<void>> operations, bool stop_at_first_error) {
  if (operations.empty()) co_return;
  const auto executor = co_await asio::this_coro::executor;
  auto group = std::make_shared<Group>(executor, operations.size());
  for (std::size_t i = 0; i < operations.size(); ++i) {
    auto done = [group, stop_at_first_error](std::exception_ptr error) {
      if (error && !group->first_error) {
        group->first_error = error;
        if (stop_at_first_error) group->cancel_all();
      }
      if (--group->running == 0) group->ended.set();
    };
    asio::co_spawn(executor, std::move(operations[i]),
                   asio::bind_cancellation_slot(group->signals[i].slot(), std::move(done)));
  }
  const bool cancelled = co_await wait_to_the_end(group->ended, [&] { group->cancel_all(); });
  if (cancelled) throw_cancelled();
  if (group->first_error) std::rethrow_exception(group->first_error);
}

awaitable<void> with_deadline(awaitable<void> operation, Deadline limit, std::string doing) {
  const auto executor = co_await asio::this_coro::executor;
  const auto started = std::chrono::steady_clock::now();
  auto group = std::make_shared<Group>(executor, 1);
  asio::steady_timer timer{executor, limit.when()};
  bool expired = false;
  asio::co_spawn(
      executor, std::move(operation),
      asio::bind_cancellation_slot(group->signals[0].slot(), [group](std::exception_ptr error) {
        group->first_error = error;
        group->ended.set();
      }));
  timer.async_wait([group, &expired](boost::system::error_code error) {
    if (error || group->ended.is_set()) return;
    expired = true;
    group->cancel_all();
  });
  const bool cancelled = co_await wait_to_the_end(group->ended, [&] { group->cancel_all(); });
  timer.cancel();
  if (cancelled) throw_cancelled();
  if (expired && is_cancellation(group->first_error)) {
    const auto span = std::chrono::duration<double>(limit.when() - started).count();
    throw Error{Errc::timeout, fmt::format("no end within {:.1f} s", span)}
        .while_doing(std::move(doing))
        .with_sent(Sent::maybe);
  }
  if (group->first_error) std::rethrow_exception(group->first_error);
}

awaitable<void> shielded(awaitable<void> operation) {
  const auto executor = co_await asio::this_coro::executor;
  auto group = std::make_shared<Group>(executor, 1);
  asio::co_spawn(executor, std::move(operation), [group](std::exception_ptr error) {
    group->first_error = error;
    group->ended.set();
  });
  const bool cancelled = co_await wait_to_the_end(group->ended, [] {});
  if (cancelled) throw_cancelled();
  if (group->first_error) std::rethrow_exception(group->first_error);
}

awaitable<void> with_company(awaitable<void> body, awaitable<void> beside) {
  const auto executor = co_await asio::this_coro::executor;
  auto group = std::make_shared<Group>(executor, 2);
  const auto start = [&](awaitable<void> operation, std::size_t index, auto at_end) {
    auto done = [group, at_end](std::exception_ptr error) {
      at_end(error);
      if (--group->running == 0) group->ended.set();
    };
    asio::co_spawn(executor, std::move(operation),
                   asio::bind_cancellation_slot(group->signals[index].slot(), std::move(done)));
  };
  start(std::move(body), 0, [group](std::exception_ptr error) {
    if (error && !group->first_error) group->first_error = error;
    group->signals[1].emit(asio::cancellation_type::terminal);
  });
  start(std::move(beside), 1, [group](std::exception_ptr error) {
    if (!error || is_cancellation(error)) return;
    if (!group->first_error) group->first_error = error;
    group->signals[0].emit(asio::cancellation_type::terminal);
  });
  const bool cancelled = co_await wait_to_the_end(group->ended, [&] { group->cancel_all(); });
  if (cancelled) throw_cancelled();
  if (group->first_error) std::rethrow_exception(group->first_error);
}

namespace {

awaitable<void> clean_up_after(awaitable<void> body, awaitable<void> cleanup, bool after_success) {
  std::exception_ptr failure;
  try {
    co_await std::move(body);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure && !after_success) co_return;
  const auto state = co_await asio::this_coro::cancellation_state;
  const bool cancelled = state.cancelled() != asio::cancellation_type::none;
  // What is cancelled can't wait for anything any more, the clean-up included. What is not must not
  // lose its ears here: its caller may try again.
  if (cancelled) {
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  }
  std::exception_ptr in_cleanup;
  try {
    co_await shielded(std::move(cleanup));
  } catch (...) {
    in_cleanup = std::current_exception();
  }
  if (cancelled || is_cancellation(in_cleanup)) throw_cancelled();
  if (failure) std::rethrow_exception(failure);
  if (in_cleanup) std::rethrow_exception(in_cleanup);
}

}  // namespace

awaitable<void> with_cleanup(awaitable<void> body, awaitable<void> cleanup) {
  return clean_up_after(std::move(body), std::move(cleanup), true);
}

awaitable<void> with_undo(awaitable<void> body, awaitable<void> undo) {
  return clean_up_after(std::move(body), std::move(undo), false);
}

awaitable<Semaphore::Permit> Semaphore::acquire() {
  if (free_ > 0) {
    --free_;
    co_return Permit{*this};
  }
  const auto executor = co_await asio::this_coro::executor;
  auto waiter = std::make_shared<Waiter>(Waiter{asio::steady_timer{executor, SteadyTime::max()}});
  waiters_.push_back(waiter);
  std::exception_ptr interrupted;
  try {
    co_await waiter->timer.async_wait(asio::use_awaitable);
  } catch (const boost::system::system_error&) {
    // Both a grant and a cancellation of the coroutine end the wait this way.
    if (!waiter->granted) interrupted = std::current_exception();
  }
  if (!interrupted) co_return Permit{*this};
  std::erase(waiters_, waiter);
  std::rethrow_exception(interrupted);
}

void Semaphore::give_back() noexcept {
  if (waiters_.empty()) {
    ++free_;
    return;
  }
  const auto next = waiters_.front();
  waiters_.pop_front();
  next->granted = true;
  next->timer.cancel();
}

awaitable<void> Event::wait() {
  while (!set_) {
    boost::system::error_code error;
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    if (!set_ && error) throw_cancelled();
  }
}

namespace detail {

awaitable<void> run_in_pool_erased(asio::thread_pool& pool, std::function<void()> work) {
  const auto executor = co_await asio::this_coro::executor;
  // The work refers to the caller's frame, so the wait can't be left early.
  co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(
      [&](auto handler) {
        asio::post(pool, [work = std::move(work), executor,
                          handler = std::make_shared<decltype(handler)>(std::move(handler)),
                          guard = asio::make_work_guard(executor)]() mutable {
          work();
          asio::post(executor, [handler] { std::move (*handler)(); });
        });
      },
      asio::use_awaitable);
}

}  // namespace detail

}  // namespace px
