#include "python/operation.hpp"

#include <cerrno>
#include <cstdint>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>

namespace px::python {

OperationState::OperationState(asio::io_context& io)
    : io_{io}, fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  if (fd_ < 0) throw std::system_error{errno, std::generic_category(), "eventfd"};
}

OperationState::~OperationState() {
  close();
}

bool OperationState::done() const {
  const std::lock_guard lock{mutex_};
  return done_;
}

void OperationState::cancel() {
  asio::post(
      io_, [self = shared_from_this()] { self->signal_.emit(asio::cancellation_type::terminal); });
}

void OperationState::close() {
  const std::lock_guard lock{mutex_};
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

nanobind::object OperationState::result() {
  std::function<nanobind::object()> make;
  {
    const std::lock_guard lock{mutex_};
    if (!done_) throw Error{Errc::internal, "result() was asked for before the operation's end"};
    if (error_) std::rethrow_exception(error_);
    make = std::exchange(make_result_, {});
  }
  return make ? make() : nanobind::none();
}

void OperationState::finish(std::exception_ptr error,
                            std::function<nanobind::object()> make_result) {
  const std::lock_guard lock{mutex_};
  error_ = std::move(error);
  make_result_ = std::move(make_result);
  done_ = true;
  // The descriptor is closed under the same lock, so this never writes to another's file.
  const std::uint64_t one = 1;
  if (fd_ >= 0 && ::write(fd_, &one, sizeof one) < 0) {
    // An eventfd refuses only when its counter is full, and then it is readable already.
  }
}

std::shared_ptr<OperationState> start(asio::io_context& io, awaitable<void> work) {
  auto wrapped = [](awaitable<void> inner) -> awaitable<bool> {
    co_await std::move(inner);
    co_return true;
  };
  return start(io, wrapped(std::move(work)), [](bool) { return nanobind::none(); });
}

}  // namespace px::python
