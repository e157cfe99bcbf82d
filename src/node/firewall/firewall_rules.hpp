#pragma once
#include "node/firewall/firewall_config.hpp"
#include "node/firewall/firewall_syntax.hpp"
#include "node/route.hpp"

#include <cstdint>
#include <vector>

/// What makes a rule, checked as Proxmox VE checks it. Pure. (pve-firewall Firewall.pm,
/// verify_rule)
namespace px::node {

/// Where a rule stands; each place takes other types of rules.
enum class RulePlace : std::uint8_t { vm, group, vnet };

/// The parameters that a rule consists of.
const std::vector<Param>& rule_properties();

/// Sets what `call` gives of a rule; an empty value removes it. (copy_rule_data)
void set_rule_properties(json::object& rule, const Call& call);
/// Throws ApiError 400 for what is no property or has to be there.
void remove_rule_properties(json::object& rule, const std::vector<std::string>& names);

/// Throws ApiError 400 naming the parameter that does not fit, 501 for a macro or an ICMP type.
/// `own` is the VM's or VNet's file, nullptr for a group: their IP sets and aliases can be named. A
/// group that is not there can be named, too. Sets `ipversion`, and drops what Proxmox VE does not
/// keep of a rule that names a group.
void check_rule(json::object& rule, RulePlace place, const FirewallFile& datacenter,
                const FirewallFile* own);

/// The alias that a rule names, nullptr when it is not there. (resolve_alias)
const json::object* find_alias(const AddressSpec& spec, const FirewallFile& datacenter,
                               const FirewallFile* own);
const IpSet* find_ipset(const AddressSpec& spec, const FirewallFile& datacenter,
                        const FirewallFile* own);

}  // namespace px::node
