#include "sandbox/removal.hpp"

#include "pve/tasks.hpp"
#include "support/log.hpp"

#include <algorithm>

namespace px::sandbox {

using namespace std::chrono_literals;

namespace {

/// Locks pass: of a clone under way, of qmeventd after a stop (pve-facts section 4).
bool may_pass(const Error& error) {
  switch (error.kind) {
    case Errc::busy:
    case Errc::unreachable:
    case Errc::proxy:
    case Errc::server:
    case Errc::task_failed:
      return true;
    default:
      return false;
  }
}

awaitable<bool> is_still_there(pve::Client& client, pve::VmRef vm, IsOurs is_ours) {
  const auto config = co_await pve::qemu::config_if_there(client, vm);
  co_return config&& is_ours(*config);
}

}  // namespace

awaitable<void> remove_vm(pve::Client& client, pve::VmRef vm, std::string text, IsOurs is_ours,
                          bool look_first, Deadline limit) {
  bool look = look_first;
  for (auto pause = 200ms;; pause = std::min(pause * 2, 2000ms)) {
    std::optional<Error> failure;
    try {
      if (look && !co_await is_still_there(client, vm, is_ours)) co_return;
      look = true;
      const auto stopping = co_await pve::qemu::stop(client, vm, limit);
      co_await pve::wait_for_task(client, stopping, limit, "stop " + text);
      const auto deleting = co_await pve::qemu::destroy(client, vm, limit);
      co_await pve::wait_for_task(client, deleting, limit, "destroy " + text);
    } catch (const Error& error) {
      failure = error;
    }
    if (!failure || failure->kind == Errc::not_found) co_return;
    if (!may_pass(*failure) || limit.passed(std::chrono::steady_clock::now())) throw *failure;
    log::debug("deleting {} again: {}", text, failure->what());
    co_await sleep_for(pause);
  }
}

}  // namespace px::sandbox
