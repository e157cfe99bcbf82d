#pragma once
#include "sandbox/host.hpp"
#include "sandbox/room.hpp"
#include "sandbox/server.hpp"
#include "support/async.hpp"

#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

/// Which sample goes to which host, and when: to the one that is well and has most room, in the
/// order of asking, and no more at once than the host takes well.
namespace px::sandbox {

/// A host as the choice sees it.
struct HostSeen {
  bool is_well = true;
  bool may_start = true;  ///< its StartRamp has room
  int fits = 0;           ///< Room::fits()
  int samples = 0;        ///< of this process
  std::int64_t free_memory = 0;
};
/// The index of the one to take: of those that are well, fit and may start, the one where most more
/// would fit; then the one with most memory, then with fewest samples. Nothing: wait.
std::optional<std::size_t> choose_host(const std::vector<HostSeen>& candidates);

class Places;

/// A sample's room on a host. Gives it back when it goes.
class Place {
 public:
  Place(std::shared_ptr<Places> places, std::shared_ptr<Host> host, Share share);
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  const std::shared_ptr<Host>& host() const noexcept { return host_; }

  /// The sample's VMs run: `took` is what the server did for it.
  void started(std::chrono::duration<double> took);
  /// They could not be made.
  void could_not_start();

 private:
  void end_start();

  std::shared_ptr<Places> places_;
  std::shared_ptr<Host> host_;
  Share share_;
  bool is_starting_ = true;
};

/// What a sample asks for.
struct Demand {
  const Spec* spec = nullptr;  ///< outlives the wait
  std::string who;             ///< "sample 3 of demo", for messages
  std::vector<std::shared_ptr<Server>> servers;
  std::shared_ptr<Host> not_there{};  ///< it has just failed on that one
  /// Whether a host can be given this sample at all.
  std::function<bool(const Host& host)> suits{};
};

/// The queue before the hosts of one process. One I/O thread.
class Places : public std::enable_shared_from_this<Places> {
 public:
  /// `own`: the VMs of this process on a server that hold a place. `return_of_...`: makes fit for
  /// use again what was set aside, or throws.
  struct Terms {
    std::function<std::vector<std::uint32_t>(const Server& server)> own;
    std::function<awaitable<void>(std::shared_ptr<Server>)> return_of_server;
    std::function<awaitable<void>(std::shared_ptr<Host>)> return_of_host;
    std::function<bool()> keeps_vms;    ///< of samples that have ended
    std::function<void()> on_change{};  ///< of who has which place, and of which host is well
  };
  explicit Places(Terms terms) : terms_{std::move(terms)} {}

  /// Waits for a place, in the order of asking among those who ask for the same servers, and says
  /// in the log what for, after a minute and then every five. Errors: bad_input when no host can
  /// ever have that room (naming VMs and hosts); unavailable when only VMs that were kept are in
  /// the way.
  awaitable<std::shared_ptr<Place>> take(Demand demand);

  /// Throws what take() would, where that is known now.
  void check(const Demand& demand) const;

  /// Something may have become free, or a host well or not.
  void changed();
  /// Tells nobody any more. Nobody may wait.
  void close() { terms_ = {}; }

 private:
  /// Brings back what was set aside and whose time has come.
  awaitable<void> bring_back(const std::vector<std::shared_ptr<Server>>& servers);
  std::vector<std::shared_ptr<Host>> hosts_for(const Demand& demand) const;
  std::shared_ptr<Host> choose(const Demand& demand) const;
  awaitable<void> look(const Demand& demand, std::chrono::seconds age);
  awaitable<void> wait_for_change();
  void say(const Demand& demand, std::chrono::seconds waited, std::size_t behind) const;
  void check_kept(const Demand& demand) const;
  std::string blocked_by(const Demand& demand) const;

  Terms terms_;
  std::map<std::string, std::unique_ptr<Semaphore>> lines_;  ///< by the servers that are asked for
  std::set<asio::steady_timer*> sleepers_;
};

/// Sets a host, or its whole server, aside for an error, and says so.
void set_aside(Host& host, const Error& error, SteadyTime began);

/// Whether an error is the server's own, so that another one may do better. `is_made`: the VMs run
/// already; then only a lost connection is.
bool is_servers_fault(const Error& error, bool is_made) noexcept;
/// Whether it concerns the whole server, not one of its nodes.
bool is_connection_fault(const Error& error) noexcept;

}  // namespace px::sandbox
