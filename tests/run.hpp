#pragma once
#include "support/async.hpp"
#include "support/error.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <exception>
#include <optional>
#include <utility>

namespace px::testing {

/// Runs a coroutine on an I/O context of its own and returns its result, or throws its error.
template <class T>
T run(awaitable<T> operation) {
  asio::io_context io{1};
  std::optional<T> result;
  std::exception_ptr failure;
  asio::co_spawn(io, std::move(operation), [&](std::exception_ptr error, T value) {
    failure = error;
    if (!error) result.emplace(std::move(value));
  });
  io.run();
  if (failure) std::rethrow_exception(failure);
  return std::move(*result);
}

inline void run(awaitable<void> operation) {
  asio::io_context io{1};
  std::exception_ptr failure;
  asio::co_spawn(io, std::move(operation), [&](std::exception_ptr error) { failure = error; });
  io.run();
  if (failure) std::rethrow_exception(failure);
}

/// The Error that `operation` throws; a failed expectation and Errc::internal when it doesn't.
template <class T>
awaitable<Error> error_of(awaitable<T> operation) {
  try {
    co_await std::move(operation);
  } catch (const Error& e) {
    co_return e;
  }
  co_return Error{Errc::internal, "no error was thrown"};
}

}  // namespace px::testing
