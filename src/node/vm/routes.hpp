#pragma once
#include "node/cluster.hpp"
#include "node/firewall/firewall_config.hpp"
#include "node/network/network_maker.hpp"
#include "node/tasks.hpp"
#include "node/vm/vms.hpp"

namespace px::node {

/// What all routes under /nodes/{node}/qemu share.
struct VmServices {
  Vms& vms;
  Tasks& tasks;
  Cluster& cluster;  ///< for its pools
  Sdn& sdn;
  Firewall& firewall;
  NetworkMaker& networks;
  asio::thread_pool& threads;

  using Work = std::function<awaitable<void>(VmPtr, TaskLog&)>;
  /// Starts a task that holds the VM's lock all the while. Refuses, inside the task, a VM with a
  /// config lock unless `skip_lock`. Returns the UPID.
  std::string start_locked(std::string type, VmPtr vm, const std::string& user, bool skip_lock,
                           Work work) const;
  /// Applies what is pending, and powers the VM on. The caller holds the lock.
  awaitable<void> power_on(VmPtr vm, TaskLog& log, std::string load_snapshot = {}) const;

  /// Makes the pending changes; those that can't be made stay pending, with a line in the log.
  void apply_pending(Vm& vm, TaskLog& log) const;

  /// The `skiplock` parameter, which only root@pam itself may give (no token).
  static bool skip_lock(const Call& call);
};

/// Adds all routes under /nodes/{node}/qemu. What `services` names must outlive the router.
void add_vm_routes(Router& router, const VmServices& services);

/// Adds a route under /nodes/{node}/qemu whose handler is a member function of `self`.
template <class Self>
void add_vm_route(Router& router, const std::shared_ptr<Self>& self, std::string method,
                  std::string path, std::vector<Param> params,
                  awaitable<json::value> (Self::*handler)(Call&), bool is_protected = true) {
  router.add({.method = std::move(method),
              .path = "/nodes/{node}/qemu" + std::move(path),
              .params = std::move(params),
              .handler = [self, handler](Call& call) { return ((*self).*handler)(call); },
              .is_protected = is_protected});
}

}  // namespace px::node
