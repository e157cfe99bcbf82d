#pragma once
#include "node/vm/line_socket.hpp"
#include "node/vm/machine.hpp"

namespace px::node {

/// The one owner of a VM's agent socket: requests queue here and travel over one lasting
/// connection. (A second client's bytes would wait unanswered until the first one leaves, and what
/// a client leaves behind confuses the next: guest-facts section 2.)
///
/// After anything unusual - a lost answer, a cancelled call, a reset - the next call first sends
/// 0xFF and guest-sync-delimited and discards all up to its answer.
class GuestAgent : public AgentPort {
 public:
  GuestAgent(const asio::any_io_executor& executor, std::filesystem::path path)
      : socket_{executor, std::move(path)} {}

  awaitable<json::value> call(std::string_view command, json::object arguments,
                              std::chrono::milliseconds limit) override;
  /// The guest was reset: answers to what was asked before do not come any more.
  void forget() noexcept { synchronised_ = false; }
  /// QEMU is gone: a call that still waits ends.
  void close() noexcept { socket_.close(); }

 private:
  awaitable<json::value> exchange(std::string command, json::object arguments);
  awaitable<void> synchronise();
  awaitable<void> read_sync_answer(std::uint64_t oldest);

  LineSocket socket_;
  Semaphore one_at_a_time_{1};
  bool synchronised_ = false;
  std::uint64_t last_id_ = 0;
};

}  // namespace px::node
