#pragma once
// Bodies of the templates of support/async.hpp.
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace px {

namespace detail {
awaitable<void> run_in_pool_erased(asio::thread_pool& pool, std::function<void()> work);
}  // namespace detail

template <class F>
auto run_in_pool(asio::thread_pool& pool, F work) -> awaitable<std::invoke_result_t<F>> {
  using Result = std::invoke_result_t<F>;
  std::exception_ptr failure;
  if constexpr (std::is_void_v<Result>) {
    co_await detail::run_in_pool_erased(pool, [&] {
      try {
        work();
      } catch (...) {
        failure = std::current_exception();
      }
    });
    if (failure) std::rethrow_exception(failure);
  } else {
    std::optional<Result> result;
    co_await detail::run_in_pool_erased(pool, [&] {
      try {
        result.emplace(work());
      } catch (...) {
        failure = std::current_exception();
      }
    });
    if (failure) std::rethrow_exception(failure);
    co_return std::move(*result);
  }
}

}  // namespace px
