#pragma once
#include "node/vm/line_socket.hpp"
#include "support/json.hpp"

#include <string_view>

namespace px::node {

/// QEMU's machine protocol on its monitor socket (QEMU docs/interop/qmp-spec). One call at a time;
/// events are not looked at: what matters is asked for.
class Qmp {
 public:
  Qmp(const asio::any_io_executor& executor, std::filesystem::path path)
      : socket_{executor, std::move(path)} {}

  /// Runs one command, connecting first when needed. Throws Error{rejected} with QEMU's own text,
  /// Error{unreachable} when QEMU is gone, Error{timeout} after `limit`.
  awaitable<json::value> call(std::string_view command, json::object arguments = {},
                              std::chrono::milliseconds limit = std::chrono::seconds{5});
  /// Runs a job command (snapshot-save, ...) to its end; a failed job throws Error{rejected}.
  awaitable<void> run_job(std::string_view command, json::object arguments,
                          std::chrono::milliseconds limit);
  void close() noexcept { socket_.close(); }

 private:
  awaitable<json::value> exchange(std::string command, json::object arguments);
  awaitable<void> wait_for_job(std::string id);

  LineSocket socket_;
  Semaphore one_at_a_time_{1};
  std::uint64_t last_id_ = 0;
};

}  // namespace px::node
