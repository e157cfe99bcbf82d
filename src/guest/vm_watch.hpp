#pragma once
#include "guest/diagnosis.hpp"
#include "pve/client.hpp"
#include "support/async.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

namespace px::guest {

/// Watches over the requests to one VM's guest: when one fails for no reason of the guest's, or
/// hangs, it looks at the VM, and ends the request with what the VM died of. As long as requests
/// are answered it sends none itself.
///
/// Of a guest that falls silent it also tells what its serial console prints, as far as there is
/// one, the caller may see it and nobody else has it open. It types nothing: a guest that is silent
/// for seconds may be alive, and is none of ours to act upon.
class VmWatch {
 public:
  /// So long may a guest be silent in which commands run: who waits for one is told within 10 s.
  static constexpr std::chrono::seconds patience_with_a_guest{8};
  /// And so long one that is being set up, where packages may keep it busy or restart its agent.
  static constexpr std::chrono::seconds patience_with_a_first_boot{60};

  /// `client` must outlive the watch.
  VmWatch(pve::Client& client, pve::VmRef vm, VmWords words,
          std::chrono::steady_clock::duration patience);

  /// Makes a request to the guest's agent. Errors: its own, and unavailable (see cause_of_death()).
  /// A request that had no answer in time is Errc::unreachable: Errc::timeout is a command's own.
  template <class T>
  awaitable<T> over(std::function<awaitable<T>(pve::CallOptions)> request);

 private:
  struct Request {
    SteadyTime made;
    std::optional<SteadyTime> sent{};  ///< when a worker was free for it
    bool ended_by_us = false;
  };
  /// What was listened to in one silence.
  struct Console {
    std::optional<SteadyTime> silence{};  ///< when our patience with it ends, which names it
    bool had_listener = false;            ///< or has one
    std::string printed{};
  };

  awaitable<void> watch(std::function<awaitable<void>(pve::CallOptions)> request);
  awaitable<void> look_while_it_hangs(std::shared_ptr<Request> request);
  awaitable<void> keep_looking(std::shared_ptr<Request> request, bool until_listening);
  bool hangs(const Request& request) const;
  bool takes_up_listening();
  awaitable<void> listen(Deadline limit);
  awaitable<std::optional<Error>> look(SteadyTime began, SteadyTime since);
  awaitable<Sight> see() const;

  pve::Client& client_;
  pve::VmRef vm_;
  VmWords words_;
  std::chrono::steady_clock::duration patience_;
  Silence silence_;
  Sight sight_;
  SteadyTime last_look_{};
  Semaphore one_look_{1};
  Console console_;
};

template <class T>
awaitable<T> VmWatch::over(std::function<awaitable<T>(pve::CallOptions)> request) {
  std::optional<T> out;
  co_await watch([&](pve::CallOptions options) -> awaitable<void> {
    out.emplace(co_await request(std::move(options)));
  });
  co_return std::move(*out);
}

template <>
inline awaitable<void> VmWatch::over(std::function<awaitable<void>(pve::CallOptions)> request) {
  return watch(std::move(request));
}

}  // namespace px::guest
