#pragma once
#include "pve/client.hpp"
#include "sandbox/cleanup_choice.hpp"
#include "sandbox/instances.hpp"
#include "sandbox/server.hpp"
#include "support/async.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

/// Clean-up by marks, for what a dead process left: nothing is known but the servers.
namespace px::sandbox {

struct CleanupReport {
  std::vector<std::string> removed{};  ///< "VM 101 (victim) on node pve1"
  std::vector<std::string> left{};     ///< "VM 101 (victim) on node pve1: why"
};

/// Called for each thing that is gone.
using OnRemoved = std::function<void(const std::string& text)>;

/// VMs side by side, then files, then networks with one apply, then records; these two only when
/// nothing is left: a server takes a network away under a running VM (pve-practice section 5), and
/// by its record others know whose a thing is. Goes on past failures.
awaitable<CleanupReport> clean_up(pve::Client& client, CleanupChoice choice,
                                  OnRemoved on_removed = {});

/// What the dead runs of this machine and user left on some servers: says in a line that it is
/// there, and removes it, unless PROXMOX_SANDBOX_KEEP_DEAD is set. No request when no run is dead.
/// Templates half made are left to those who need them (image::claim). Errors go to the log, for
/// nobody who starts an evaluation asked for this.
awaitable<void> clean_up_after_the_dead(std::vector<std::shared_ptr<Server>> servers,
                                        Environment environment);

/// Removes what is ours on all servers of the environment, VMs, media and networks: all of it (`id`
/// empty), one run's (`id` = 8 characters [0-9a-f]) or one VM (`id` = its VMID). Returns a line for
/// each thing removed. Goes on past failures; then throws with what is left and why. Throws
/// Error{bad_input} for an id that names nothing of ours.
awaitable<std::vector<std::string>> cleanup_from_environment(
    asio::thread_pool& pool, std::string id, Environment environment = process_environment());

}  // namespace px::sandbox
