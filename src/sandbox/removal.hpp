#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/qemu.hpp"
#include "support/async.hpp"

#include <cstddef>
#include <functional>
#include <string>

namespace px::sandbox {

/// Whether a VM's configuration is that of the VM that is to go: a number that became free is the
/// next VM's.
using IsOurs = std::function<bool(const pve::qemu::VmConfigMap& config)>;

/// So many VMs of a server's node are removed at once. It would work at any number, each a process
/// that waits for the others' locks, and their ends are asked for by its three workers (pve-facts
/// section 14).
inline constexpr std::size_t removals_at_once = 16;

/// Stops and deletes a VM, waiting out locks and lost answers until `limit`. Nothing when it is
/// gone already. Before each further attempt it looks whether the VM still is the same, and with
/// `look_first` before the first one, too. `text` names it in messages. Throws the last error when
/// it can't be done.
awaitable<void> remove_vm(pve::Client& client, pve::VmRef vm, std::string text, IsOurs is_ours,
                          bool look_first, Deadline limit);

}  // namespace px::sandbox
