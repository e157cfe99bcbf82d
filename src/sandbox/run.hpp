#pragma once
#include "sandbox/host.hpp"
#include "sandbox/instances.hpp"
#include "sandbox/lease.hpp"
#include "sandbox/life_sign.hpp"
#include "sandbox/marks.hpp"
#include "sandbox/places.hpp"
#include "sandbox/sandbox.hpp"
#include "sandbox/server.hpp"
#include "support/async.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace px::sandbox {

/// All that one process makes on all servers. One I/O thread.
class Run {
 public:
  Run(asio::any_io_executor executor, asio::thread_pool& pool,
      Environment environment = process_environment());
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  const RunId& id() const noexcept { return id_; }

  /// Checks a configuration and its servers, and makes the templates and networks that it needs, so
  /// that no sample waits for them; sweep() ends it. A server that can't be used now is set aside,
  /// as long as another one of the pool can. Errors name the field or variable; nothing of a sample
  /// exists then.
  awaitable<void> prepare(std::string spec_json);

  /// Room for a sample on the best host of its pool; waits for it in the order of asking.
  awaitable<std::shared_ptr<Place>> take_place(std::string spec_json, std::string task,
                                               std::string sample);

  /// A sample's VMs, running. Without a `place` it waits for one. What fails for a server's reason
  /// is tried once on another host. On an error or a cancellation nothing is left, or the log says
  /// what.
  awaitable<std::shared_ptr<Sandbox>> bring_up(std::string spec_json, std::string task,
                                               std::string sample,
                                               std::shared_ptr<Place> place = nullptr);

  /// Destroys what is still there, and after as many calls as prepare() had the networks; with
  /// `cleanup` false only describes it, a line for each VM. Throws when something is left.
  awaitable<std::vector<std::string>> sweep(bool cleanup);

  /// How many small samples (512 MiB, 1 vCPU) the environment's servers take at once, those that
  /// are there included; nothing when no server tells within 5 s, or none has a limit.
  awaitable<std::optional<int>> capacity();

  struct Use {
    int samples = 0;  ///< that have a place
    int most = 0;     ///< and of the last one's size would fit besides
  };
  /// Of a pool. Any thread.
  Use use_of(const std::string& pool) const;

 private:
  struct Attempt;

  /// Fetches what it names in the web, once for all samples.
  awaitable<Spec> read(std::string spec_json);
  std::vector<std::shared_ptr<Server>> servers_for(const Spec& spec);
  std::shared_ptr<Server> server_for(pve::Instance instance);
  awaitable<void> prepare_on(std::vector<std::shared_ptr<Server>> servers, const Spec& spec,
                             std::string key);
  awaitable<void> undo_prepare();
  awaitable<void> prepare_servers(const std::vector<std::shared_ptr<Server>>& servers,
                                  const Spec& spec, const std::string& key);
  awaitable<void> prepare_server(std::shared_ptr<Server> server, const Spec& spec,
                                 const std::string& key);
  awaitable<void> connect_new(const std::vector<std::shared_ptr<Server>>& servers);
  awaitable<void> bring_up_at(Attempt& attempt, std::shared_ptr<Place> place);
  bool has_other(const Attempt& attempt, const Host& host) const;
  awaitable<Attempt> begin(std::string spec_json, std::string task, std::string sample);
  Demand demand_of(const Attempt& attempt);
  awaitable<void> return_of(std::shared_ptr<Server> server);
  awaitable<void> destroy_left(const Host& host);
  awaitable<void> remove_networks();
  std::vector<std::uint32_t> own_vms(const Server& server) const;
  void note_use();
  void tell_who_is_set_aside();
  void show_life();
  awaitable<void> end_life();

  asio::any_io_executor executor_;
  asio::thread_pool& pool_;
  Environment environment_;
  RunId id_ = RunId::make();
  std::shared_ptr<Places> places_;
  std::map<std::string, std::shared_ptr<Server>> servers_;
  std::vector<std::shared_ptr<Sandbox>> sandboxes_;
  std::map<std::string, Spec> of_the_web_;  ///< by their JSON
  bool looked_for_dead_ = false;
  int prepared_ = 0;                          ///< configurations whose networks are kept
  std::optional<LifeSign> life_sign_;         ///< while something of it may be on a server
  Lease lease_{id_};                          ///< the same for those who see the servers alone
  std::map<std::string, Share> last_shares_;  ///< by the instances' pool

  mutable std::mutex use_lock_;
  std::map<std::string, Use> use_;  ///< by pool
};

}  // namespace px::sandbox
