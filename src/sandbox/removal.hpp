#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/qemu.hpp"
#include "support/async.hpp"

#include <functional>
#include <string>

namespace px::sandbox {

/// Whether a VM's configuration is that of the VM that is to go: a number that became free is the
/// next VM's.
using IsOurs = std::function<bool(const pve::qemu::VmConfigMap& config)>;

/// Stops and deletes a VM, waiting out locks and lost answers until `limit`. Nothing when it is
/// gone already. Before each further attempt it looks whether the VM still is the same, and with
/// `look_first` before the first one, too. `text` names it in messages. Throws the last error when
/// it can't be done.
awaitable<void> remove_vm(pve::Client& client, pve::VmRef vm, std::string text, IsOurs is_ours,
                          bool look_first, Deadline limit);

}  // namespace px::sandbox
