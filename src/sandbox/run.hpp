#pragma once
#include "sandbox/host.hpp"
#include "sandbox/instances.hpp"
#include "sandbox/lease.hpp"
#include "sandbox/life_sign.hpp"
#include "sandbox/marks.hpp"
#include "sandbox/sandbox.hpp"
#include "support/async.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace px::sandbox {

/// All that one process makes on all servers. One I/O thread.
class Run {
 public:
  Run(asio::any_io_executor executor, asio::thread_pool& pool,
      Environment environment = process_environment());

  const RunId& id() const noexcept { return id_; }

  /// Checks a configuration and its servers, and makes the templates and networks that it needs, so
  /// that no sample waits for them; sweep() ends it. Errors name the field or variable; nothing of
  /// a sample exists then.
  awaitable<void> prepare(std::string spec_json);

  /// A sample's VMs, running. On an error or a cancellation nothing is left, or the log says what.
  awaitable<std::shared_ptr<Sandbox>> bring_up(std::string spec_json, std::string task,
                                               std::string sample);

  /// Destroys what is still there, and after as many calls as prepare() had the networks; with
  /// `cleanup` false only describes it, a line for each VM. Throws when something is left.
  awaitable<std::vector<std::string>> sweep(bool cleanup);

 private:
  /// Fetches what it names in the web, once for all samples.
  awaitable<Spec> read(std::string spec_json);
  std::vector<std::shared_ptr<Host>> hosts_for(const Spec& spec);
  awaitable<void> remove_networks();
  void show_life();
  awaitable<void> end_life();

  asio::any_io_executor executor_;
  asio::thread_pool& pool_;
  Environment environment_;
  RunId id_ = RunId::make();
  std::map<std::string, std::shared_ptr<Host>> hosts_;
  std::vector<std::shared_ptr<Sandbox>> sandboxes_;
  std::map<std::string, Spec> of_the_web_;  ///< by their JSON
  bool looked_for_dead_ = false;
  int prepared_ = 0;                   ///< configurations whose networks are kept
  std::optional<LifeSign> life_sign_;  ///< while something of it may be on a server
  Lease lease_{id_};                   ///< the same for those who see the servers alone
};

}  // namespace px::sandbox
