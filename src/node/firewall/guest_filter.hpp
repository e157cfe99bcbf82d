#pragma once
#include "node/firewall/firewall_config.hpp"

#include <string>

/// The firewall of guests as text for nft(8): a table of the bridge family, with chains for each
/// card, at its tap. Pure. (What the rules do: pve-firewall Firewall.pm,
/// generate_tap_rules_direction and generate_tap_layer2filter; how: proxmox-firewall,
/// resources/proxmox-firewall.nft)
///
/// Answers to what was let through are let through as well. Not every kernel tracks connections in
/// the bridge family (CONFIG_NF_CONNTRACK_BRIDGE), so each card's chains keep sets of the flows
/// that they accepted, and pass what goes the opposite way: by addresses, protocol and ports; for
/// pings, fragments and protocols without ports by addresses and protocol. A flow is forgotten 2
/// hours after the last packet of an established TCP connection, else after 2 minutes, and 65536 of
/// each kind are kept for a card.
///
/// Unlike Proxmox VE: REJECT drops (as it does there for incoming traffic under nftables), `log`
/// does nothing, and frames that are neither IP nor ARP go by the policy.
namespace px::node {

/// A network card of a running VM.
struct FilteredCard {
  std::string tap;  ///< tap101i0
  std::string nic;  ///< net0
  std::string mac;
};

/// The table without any card; replaces what was there. For the start of a transaction.
std::string guest_table();

/// All chains of one card, whose old ones it replaces. The flows that it knows stay.
std::string card_filter(const FilteredCard& card, const FirewallFile& datacenter,
                        const FirewallFile& vm);
/// Takes away what card_filter() made.
std::string card_filter_removal(const std::string& tap);

/// Whether the cards of a VM are filtered: both firewalls must be on.
bool is_filtering(const FirewallFile& datacenter, const FirewallFile& vm);

}  // namespace px::node
