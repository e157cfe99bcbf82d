#pragma once
#include "node/network/sdn.hpp"
#include "node/vm/vm_config.hpp"

#include <map>
#include <string>

/// What a change of a VM's NICs means for its networks.
namespace px::node {

/// Frees the addresses of NICs that went or moved between `before` and `after.current`, and books
/// some for those that came. A NIC that can't have one stays as it was, with the change pending;
/// returned is why, by option. (qemu-server vmconfig_apply_pending; exchange 26)
std::map<std::string, std::string> rebook_nics(Sdn& sdn, int vmid, const Options& before,
                                               VmConfig& after);

/// The options with which a VM starts: a NIC whose change could not be booked starts with it all
/// the same. (qemu-server's pve-bridge reads the pending value)
Options with_pending_nics(const VmConfig& config);

/// Before a start: each NIC's bridge must be there, and its address booked. Throws ApiError 500.
void confirm_nics(Sdn& sdn, int vmid, const Options& options);

}  // namespace px::node
