#pragma once
#include "pve/client.hpp"
#include "support/file_lock.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

/// The lock of a server's SDN configuration: POST and DELETE /cluster/sdn/lock, since Proxmox VE
/// 9.0. It outlives its process, and nobody is told who has it (pve-facts section 11). So the
/// processes of this machine and user that want it queue for a file (Instance::state_directory):
/// the one that has the file asks the server, and writes down that it does. What one leaves that
/// dies there, the next gives back at once.
namespace px::pve::sdn {

/// Goes with each write while the lock is held. None: a server before 9.0.
using LockToken = std::optional<std::string>;

class Lock {
 public:
  Lock() = default;
  explicit Lock(std::optional<FileLock> turn) : turn_{std::move(turn)} {}

  const LockToken& token() const noexcept { return token_; }

  /// For lock(), unlock() and apply(): what the next one would find, were we dead.
  void note_request();
  void note_token(LockToken token);
  /// The server has the lock back; the next process's turn comes.
  void note_end();

 private:
  void note(std::string_view text);

  std::optional<FileLock> turn_;
  LockToken token_;
};

/// Keeps everyone else from writing to the SDN configuration. Waits for its turn among the
/// processes of this machine, up to an hour, and then up to `patience` for whoever else has the
/// lock (Errc::busy with a hint afterwards). Hold it shortly.
awaitable<Lock> lock(Client& client, std::chrono::milliseconds patience = std::chrono::minutes{5});

/// Nothing where none is held, or when it is gone.
awaitable<void> unlock(Client& client, Lock& lock);
/// The lock of a process that can't do it itself, by the token that it had.
awaitable<void> unlock(Client& client, LockToken token);
/// What dead processes of this machine left of theirs. No request when they left none, or when
/// another process is at a change just now: that one does it.
awaitable<void> unlock_for_the_dead(Client& client);

}  // namespace px::pve::sdn
