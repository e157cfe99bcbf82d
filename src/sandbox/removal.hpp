#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "support/async.hpp"

#include <string>

namespace px::sandbox {

/// Stops and deletes a VM, waiting out locks and lost answers until `limit`. Nothing when it is
/// gone already. `text` names it in messages. Throws the last error when it can't be done.
awaitable<void> remove_vm(pve::Client& client, pve::VmRef vm, std::string text, Deadline limit);

}  // namespace px::sandbox
