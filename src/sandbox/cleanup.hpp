#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "sandbox/instances.hpp"
#include "support/async.hpp"

#include <string>
#include <vector>

/// Clean-up by marks, for what a dead process left: nothing is known but the servers.
namespace px::sandbox {

struct Leftover {
  pve::VmRef vm;
  std::string name;
  std::string run;  ///< empty: tagged `inspect`, of the existing provider perhaps
};

/// VMs of ours on a node that are no templates: tagged `inspect`, or with our mark in their
/// description (a clone is born with that; its tags come a request later).
awaitable<std::vector<Leftover>> find_leftovers(pve::Client& client, pve::NodeName node);

/// Removes what is ours on all servers of the environment, VMs, media and networks: all of it (`id`
/// empty), one run's (`id` = 8 characters [0-9a-f]) or one VM (`id` = its VMID). Returns a line for
/// each thing removed. Goes on past failures; then throws with what is left and why. Throws
/// Error{bad_input} for an id that names nothing of ours.
awaitable<std::vector<std::string>> cleanup_from_environment(
    asio::thread_pool& pool, std::string id, Environment environment = process_environment());

}  // namespace px::sandbox
