#pragma once
#include "network/change_note.hpp"
#include "pve/client.hpp"
#include "sandbox/marks.hpp"
#include "support/async.hpp"

#include <chrono>
#include <memory>

namespace px::sandbox {

struct LeaseTerms {
  std::chrono::steady_clock::duration renew_every = std::chrono::seconds{60};
  std::chrono::steady_clock::duration retry_after = std::chrono::seconds{10};
};

/// Keeps a run's records (RunRecord) on the servers that it uses: one request to make one, one a
/// minute while the run lives, one to remove it. Whatever becomes of them, a run goes on: where the
/// user has no right to make one (Pool.Allocate) the log says so once, and what fails is tried
/// again. One I/O thread.
class Lease {
 public:
  explicit Lease(const RunId& run, LeaseTerms terms = {});
  /// Ends the renewal. Records stay, as they do when a process dies.
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  /// Makes the record, once; before the run makes anything there.
  awaitable<void> take(std::shared_ptr<pve::Client> server);
  /// The records say from now on that what the run leaves it leaves on purpose.
  awaitable<void> keep();
  /// Removes the records: nothing of the run is left. False when one could not be removed.
  awaitable<bool> give_back();
  /// For what the run is at with a server's networks: notes it in the record there.
  network::TellNote notes_on(std::shared_ptr<pve::Client> server);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace px::sandbox
