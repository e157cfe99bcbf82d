#pragma once
#include "node/route.hpp"
#include "node/vm/vm_config.hpp"

namespace px::node {

/// The options of a VM, for the tables of the routes that set them.
const std::vector<Param>& vm_option_params();
/// The option of this name (`net0` is `net[n]`); nullptr when Proxmox VE knows none.
const Param* find_vm_option(std::string_view name);

/// Checks the form of an option's value and brings it into the form that is kept: tags sorted, a
/// MAC made. Throws ApiError 400 with PVE's text.
std::string normalise_option(const std::string& name, const std::string& value);

/// The options among a call's values, normalised; all bad ones are told at once. `before` are
/// those that the VM has already. Throws ApiError 500 for what only root@pam itself may set.
Options options_of(const Call& call, const Options& before);

/// Throws ApiError 500 "only root can set 'args' config" for such an option and another user; a
/// token of root@pam is another user (pve-facts sections 1 and 15).
void check_root_only(const std::string& user, const std::string& name, const std::string& value);

/// An option as PVE answers it: the schema's integers and booleans as numbers, the rest as text
/// (`memory` too), the password hidden.
json::value option_to_json(const std::string& name, const std::string& value);

}  // namespace px::node
