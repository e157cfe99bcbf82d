#include "pve/sdn_lock.hpp"

#include "pve/once.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace px::pve::sdn {

using namespace std::chrono_literals;

namespace {

/// How long the lock may stay taken after a request for it was lost, our own or a dead process's.
constexpr auto lost_lock_patience = 10s;
constexpr auto longest_lock_pause = 1000ms;
/// For the others of this machine: each that lives comes to an end within minutes.
constexpr auto turn_patience = 60min;
constexpr auto longest_turn_pause = 200ms;
constexpr auto say_after = 1min;

/// In the file, instead of a token: one may be ours that we don't know.
constexpr std::string_view asked = "asked";

}  // namespace

void Lock::note_request() {
  note(asked);
}

void Lock::note_token(LockToken token) {
  token_ = std::move(token);
  note(token_.value_or(""));
}

void Lock::note_end() {
  note_token({});
  turn_.reset();
}

void Lock::note(std::string_view text) {
  if (!turn_) return;
  try {
    turn_->write_line(text);
  } catch (const Error& error) {
    // It is needed by nobody unless we die just now.
    log::info("{}", error.what());
  }
}

// --- the turn of a process -----------------------------------------------------------------------

namespace {

/// None where there is no place for it; the server's lock is all that there is then.
std::optional<FileLock> turn_file(const Instance& instance) {
  if (instance.state_directory.empty()) return std::nullopt;
  try {
    return FileLock{instance.state_directory / "sdn" /
                    fmt::format("{}:{}", instance.host, instance.port)};
  } catch (const Error& error) {
    log::info("{}; the processes of this machine don't queue for the SDN of {}", error.what(),
              instance.host);
    return std::nullopt;
  }
}

awaitable<void> wait_for_turn(FileLock& turn, const std::string& host) {
  const auto since = std::chrono::steady_clock::now();
  bool said = false;
  for (auto pause = 10ms; !turn.try_take(); pause = std::min(pause * 2, longest_turn_pause)) {
    const auto waited = std::chrono::steady_clock::now() - since;
    if (waited > turn_patience) {
      throw Error{Errc::busy, fmt::format("other processes of this machine have been changing the "
                                          "networks of {} for an hour",
                                          host)};
    }
    if (waited > say_after && !std::exchange(said, true)) {
      log::info("waiting while other processes of this machine change the networks of {}", host);
    }
    co_await sleep_for(pause);
  }
}

// --- the server's lock ---------------------------------------------------------------------------

awaitable<void> request_lock(Client& client, Deadline limit, Lock& lock) {
  // Others' pending changes are no reason to wait: they may stay for days.
  const auto data = co_await client.post("/cluster/sdn/lock", Params{}.add("allow-pending", true),
                                         {.deadline = limit, .doing = "lock the SDN"});
  if (!data.is_string()) throw Error{Errc::protocol, "the SDN's lock has no token"};
  lock.note_token(std::string{data.get_string()});
}

awaitable<void> give_back(Client& client, Lock& lock) {
  if (lock.token()) co_await unlock(client, lock);
}

/// A caller that is cancelled while its request is under way leaves no lock behind.
awaitable<void> ask_for_lock(Client& client, Deadline limit, Lock& lock) {
  return with_undo(shielded(request_lock(client, limit.sooner(Deadline::after(30s)), lock)),
                   give_back(client, lock));
}

awaitable<void> break_lock(Client& client) {
  log::warn("breaking the SDN's lock on {}: the answer with its token was lost",
            client.instance().host);
  co_await client.del("/cluster/sdn/lock", Params{}.add("force", true), {.repeatable = true});
}

/// `lost_at`: since when the lock may be ours without our knowing its token.
awaitable<void> ask_until_granted(Client& client, Deadline limit, Lock& lock,
                                  std::optional<SteadyTime> lost_at) {
  for (auto pause = 100ms;; pause = std::min(pause * 2, longest_lock_pause)) {
    std::optional<Error> failure;
    lock.note_request();
    try {
      co_await ask_for_lock(client, limit, lock);
      co_return;
    } catch (const Error& error) {
      failure = error;
    }
    const auto now = std::chrono::steady_clock::now();
    if (answer_was_lost(*failure)) {
      lost_at = now;
    } else if (!lost_at) {
      lock.note_token({});
    }
    if (failure->kind == Errc::unsupported) co_return;
    if (failure->kind != Errc::busy && !answer_was_lost(*failure)) throw *failure;
    // Nobody else can have it: it was free for that request, and its token is lost.
    if (lost_at && now - *lost_at > lost_lock_patience) {
      co_await break_lock(client);
      lost_at.reset();
    }
    if (limit.passed(now + pause)) {
      throw std::move(*failure).with_hint(
          "Somebody holds the lock of the SDN configuration. When it is a process that died: "
          "pvesh delete /cluster/sdn/lock --force 1");
    }
    co_await sleep_for(pause);
  }
}

/// What the one before us left in the file. Since when its lock may be there without a token.
awaitable<std::optional<SteadyTime>> settle(Client& client, const FileLock& turn) {
  const auto left = turn.line();
  if (left.empty()) co_return std::nullopt;
  if (left == asked) co_return std::chrono::steady_clock::now();
  log::info("giving back the SDN's lock on {}, which a process had that died",
            client.instance().host);
  co_await unlock(client, LockToken{left});
  co_return std::nullopt;
}

}  // namespace

awaitable<Lock> lock(Client& client, std::chrono::milliseconds patience) {
  auto turn = turn_file(client.instance());
  std::optional<SteadyTime> lost_at;
  if (turn) {
    co_await wait_for_turn(*turn, client.instance().host);
    lost_at = co_await settle(client, *turn);
  }
  Lock out{std::move(turn)};
  co_await ask_until_granted(client, Deadline::after(patience), out, lost_at);
  co_return std::move(out);
}

awaitable<void> unlock(Client& client, Lock& lock) {
  co_await unlock(client, lock.token());
  lock.note_end();
}

awaitable<void> unlock(Client& client, LockToken token) {
  if (!token) co_return;
  try {
    co_await client.del("/cluster/sdn/lock", Params{}.add("lock-token", token),
                        {.repeatable = true, .doing = "unlock the SDN"});
  } catch (const Error& error) {
    // A repeat finds no lock, or another's.
    if (error.kind != Errc::not_found && error.kind != Errc::busy) throw;
  }
}

awaitable<void> unlock_for_the_dead(Client& client) {
  auto turn = turn_file(client.instance());
  if (!turn || !turn->try_take()) co_return;
  const auto lost_at = co_await settle(client, *turn);
  Lock left{std::move(turn)};
  if (lost_at) {
    co_await ask_until_granted(client, Deadline::after(1min), left, lost_at);
    co_await unlock(client, left);
  } else {
    left.note_end();
  }
}

}  // namespace px::pve::sdn
