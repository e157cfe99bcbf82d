#pragma once
#include "image/template.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "sandbox/spec.hpp"

#include <string>
#include <utility>
#include <vector>

/// The escape hatch: `extra_proxmox_native_config`, options of a VM in Proxmox VE's own words.
namespace px::sandbox {

/// Option and value, as the API takes them.
using NativeOptions = std::vector<std::pair<std::string, std::string>>;
/// Throws Error{bad_input} for a value that is no text, number or
/// boolean, and for an option that the provider sets itself, with the field that does it.
NativeOptions native_options(const VmSpec& vm);

/// Asks the server whether it knows the options and takes their values, without changing anything.
/// Throws Error{bad_input} naming the option.
awaitable<void> check_native_options(pve::Client& client, pve::NodeName node, VmSpec vm);

/// Throws Error{bad_input} for an option that a template has a disk at.
void check_against_template(const VmSpec& vm, const image::Template& base);

}  // namespace px::sandbox
