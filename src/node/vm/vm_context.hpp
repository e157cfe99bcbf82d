#pragma once
#include "node/tasks.hpp"
#include "node/vm/vms.hpp"

namespace px::node {

/// What the VM routes ask of the node's pools.
class PoolMembers {
 public:
  virtual ~PoolMembers() = default;
  virtual bool exists(const std::string& pool) const = 0;
  virtual void add(const std::string& pool, int vmid) = 0;
  /// From whatever pool it is in.
  virtual void remove(int vmid) = 0;
};

/// How long the agent's routes wait, as the real server does; tests shorten it.
struct AgentLimits {
  /// For an agent that does not answer at all.
  std::chrono::milliseconds ping{3000};
  /// For one command.
  std::chrono::milliseconds command{5000};
  /// Until the real server notices that its worker died of a text it could not print.
  std::chrono::milliseconds broken_pipe{5000};
  /// How long exec-status waits for the end of a running command before it says `exited: 0`. The
  /// real call takes 60-160 ms anyhow (pve-facts section 14): the wait saves a client its polls.
  std::chrono::milliseconds patience{200};
};

/// What all routes under /nodes/{node}/qemu share.
struct VmContext {
  Vms& vms;
  Tasks& tasks;
  PoolMembers& pools;
  asio::thread_pool& pool;
  AgentLimits agent_limits{};

  using Work = std::function<awaitable<void>(VmPtr, TaskLog&)>;
  /// Starts a task that holds the VM's lock all the while. Refuses, inside the task, a VM with a
  /// config lock unless `skip_lock`. Returns the UPID.
  std::string start_locked(std::string type, VmPtr vm, const std::string& user, bool skip_lock,
                           Work work) const;
  /// Applies what is pending, and powers the VM on. The caller holds the lock.
  awaitable<void> power_on(VmPtr vm, TaskLog& log, std::string load_snapshot = {}) const;

  /// The `skiplock` parameter, which only root@pam itself may give (no token).
  static bool skip_lock(const Call& call);
};

/// Adds a route under /nodes/{node}/qemu whose handler is a member function of `self`.
template <class Self>
void add_vm_route(Router& router, Self* self, std::string method, std::string path,
                  std::vector<Param> params, awaitable<json::value> (Self::*handler)(Call&),
                  bool is_protected = true) {
  router.add({.method = std::move(method),
              .path = "/nodes/{node}/qemu" + std::move(path),
              .params = std::move(params),
              .handler = [self, handler](Call& call) { return (self->*handler)(call); },
              .is_protected = is_protected});
}

}  // namespace px::node
