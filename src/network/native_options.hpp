#pragma once
#include "network/plan.hpp"
#include "pve/client.hpp"

#include <boost/json.hpp>

#include <string>

/// The escape hatch for networks: `extra_proxmox_native_config`, options of a zone, a VNet or a
/// subnet in Proxmox VE's own words.
namespace px::network {

enum class NativeKind : std::uint8_t { zone, vnet, subnet };

/// Throws Error{bad_input} for a value that is no text, number or boolean, and for an option that
/// the provider sets itself, with the field that does it.
NativeOptions parse_native_options(NativeKind kind, const std::string& field,
                                   const boost::json::object& options);

/// Asks the server whether it knows a plan's options and takes their values, without changing
/// anything. Throws Error{bad_input} naming the option.
awaitable<void> check_network_options(pve::Client& client, Plan plan);

}  // namespace px::network
