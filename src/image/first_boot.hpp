#pragma once
#include "image/built_in.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "support/async.hpp"

#include <functional>
#include <string>

/// The one start of a cloud image before it becomes a template.
namespace px::image {

struct FirstBoot {
  pve::VmRef vm;       ///< stopped, with its disks
  pve::StorageId iso;  ///< takes the seed
  const BuiltIn* built_in;
  std::string key;  ///< in the seed, which is nobody else's then
  /// The bridge of a network with DHCP and a way to the internet.
  std::function<awaitable<std::string>()> uplink;
};

/// Starts the VM with a seed for its cloud-init; that installs what is missing, and needs a network
/// only then. Removes what clones must not share (machine-id, SSH host keys, cloud-init's state,
/// logs, histories, seeds of randomness) and stops it. Of seed and card nothing stays.
///
/// Errors: task_failed with the end of cloud-init's log; agent_down; unavailable (the guest gave
/// up: it could not install its agent); and the server's.
awaitable<void> boot_once(pve::Client& client, FirstBoot what, Deadline limit);

}  // namespace px::image
