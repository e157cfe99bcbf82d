#pragma once
#include "network/change_note.hpp"
#include "network/sets.hpp"
#include "support/async.hpp"

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/// Networks are leased, not rebuilt: making them is slow and holds up a whole cluster, so a task's
/// sets are made together before its first sample, and identical samples use them one after the
/// other.
namespace px::network {

using SharedSet = std::shared_ptr<const NetworkSet>;

/// The sets of one server, and who has them. No server, no clock.
class Shelf {
 public:
  void put(SharedSet set) { entries_.push_back({std::move(set)}); }
  /// A free set of that key, which is then in use; null when there is none.
  SharedSet take(const std::string& key);
  void give_back(const SharedSet& set);
  /// How many there are of a key, free or in use.
  std::size_t count(const std::string& key) const;
  /// Takes free sets out: all, or those with other keys whose ranges are in a plan's way.
  std::vector<SharedSet> take_out_free();
  std::vector<SharedSet> take_out_in_the_way_of(const Plan& plan);

 private:
  struct Entry {
    SharedSet set;
    bool in_use = false;
  };
  template <class Predicate>
  std::vector<SharedSet> take_out(Predicate wanted);
  std::vector<Entry> entries_;
};

/// How many sets to make now. `have`: of that key; `waiting`: samples that have none.
/// Fixed ranges: one in all. Else at first as many as Inspect runs samples at once (10) but not
/// more than 20 VNets, later as many as wait, or as there are, whichever is more.
std::size_t sets_to_make(const Plan& plan, std::size_t have, std::size_t waiting);

/// How many of the `free` ranges to take for samples that may come: `wanted`, but no more than a
/// sixteenth, so that fifty evaluations at once each get one. Never none while there is one.
std::size_t fair_share(std::size_t wanted, std::size_t free);

/// The sets of one run on one server. One I/O thread.
class Leases {
 public:
  /// `nodes`: those that samples may run on.
  Leases(pve::Client& client, std::vector<pve::NodeName> nodes, std::string run);

  /// Where changes are noted from now on.
  void note_changes_by(TellNote tell) { tell_ = std::move(tell); }

  /// Makes the first sets for a plan, so that no sample waits for them; no more than the `most`
  /// samples that the server takes at once could use. Where another run has the
  /// fixed ranges, a sample will wait. Errors: bad_input naming the field when a range is a
  /// stranger's, unsupported, and the server's.
  awaitable<void> prepare(Plan plan, std::string task, std::size_t most);

  /// A set for one sample; waits for one that is in use, in the order of asking, and says so in the
  /// log: where its ranges are fixed, or the server has no more of them. Null for a plan without
  /// networks.
  awaitable<SharedSet> lease(Plan plan, std::string task);
  /// When no VM uses it any more.
  void give_back(const SharedSet& set);

  /// Removes the sets that are not in use, and what earlier removals left.
  awaitable<void> remove_free();

 private:
  struct Making;
  awaitable<std::optional<Conflict>> make(Plan plan, std::size_t count, std::size_t waiting,
                                          std::string task);
  awaitable<void> make_in(Making& making, std::optional<Conflict>& conflict);
  awaitable<void> make_sets(Making& making, const pve::sdn::Change& change,
                            const std::vector<std::string>& prefixes,
                            const std::vector<int>& octets, const std::vector<Cidr>& ranges);
  awaitable<void> undo(Making& making);
  awaitable<void> remove_made(Making& making);
  awaitable<void> tell(ChangeNote note);
  awaitable<void> wait_for(Conflict conflict, SteadyTime since);

  pve::Client& client_;
  std::vector<pve::NodeName> nodes_;
  std::string run_;
  TellNote tell_;
  Shelf shelf_;
  std::vector<Remains> doomed_;                              ///< to be removed, not in use
  std::map<std::string, std::unique_ptr<Semaphore>> lines_;  ///< of those who wait, by key
  Semaphore one_change_{1};
};

}  // namespace px::network
