#pragma once
#include "node/route.hpp"
#include "node/vm/vm_config.hpp"

namespace px::node {

/// The options of a VM that this node takes, for the tables of the routes that set them.
const std::vector<Param>& vm_option_params();
/// Whether Proxmox VE knows an option of this name (this node need not).
bool is_known_option(std::string_view name);

/// Checks the form of an option's value and brings it into the form that is kept: tags sorted, a
/// MAC made. Throws ApiError 400 with PVE's text.
std::string normalise_option(const std::string& name, const std::string& value);

/// The options among a call's values, normalised; all bad ones are told at once.
Options options_of(const Call& call);

/// An option as PVE answers it: the schema's integers and booleans as numbers, the rest as text
/// (`memory` too).
json::value option_to_json(const std::string& name, const std::string& value);

}  // namespace px::node
