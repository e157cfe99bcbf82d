#pragma once
#include "network/address.hpp"
#include "pve/firewall.hpp"

#include <boost/json.hpp>

#include <optional>
#include <string>
#include <vector>

/// What a sample's networks are closed off from, and what they may reach: `isolation` and `egress`
/// of a configuration, as rules for the server's firewall. Pure: nothing here knows a server.
///
/// Only the VM's own firewall closes the way to the node itself, which is the bridge's other end
/// (pve-practice section 6). Its rules say what leaves a guest and what comes to it.
namespace px::network {

/// Somewhere outside that a sample may reach.
struct Destination {
  Cidr cidr;
  std::string protocol{};  ///< tcp, udp; empty: any
  std::string ports{};     ///< as the server takes them: "443,8000:8010"; empty: all
};

struct Isolation {
  bool closed = true;
  /// Whatever is nobody's private network: egress "all".
  bool internet = true;
  std::vector<Destination> destinations{};

  /// Part of Plan::key().
  std::string key() const;
};

/// Reads `sdn_config.isolation` ("closed", "open") and `sdn_config.egress` ("all", "none", a list
/// of {cidr, ports, protocol}). Throws Error{bad_input} naming the field.
Isolation parse_isolation(const std::string& isolation, const boost::json::value& egress);

/// A subnet as its guests see it.
struct WireSubnet {
  Cidr cidr;
  std::optional<Address> gateway{};  ///< the node's address in it
  bool snat = false;
  bool dhcp =
      false;  ///< the gateway gives out addresses, and with a way out answers names (dnsmasq)
};

/// Rules for a card in a VNet with these subnets; the first that fits decides, and what none allows
/// is dropped. Without a subnet the VNet is a wire of the sample's own: the node has no address
/// there but its bridge's link-local one, and that is closed. `foreign`: the server's networks.
std::vector<pve::firewall::Rule> rules_of(const std::vector<WireSubnet>& subnets,
                                          const Isolation& isolation,
                                          const std::vector<Cidr>& foreign);

/// Rules for a card in somebody else's network, so that its VM is nobody's neighbour: it gets to
/// these subnets, if they are known, and to what is nobody's private network.
std::vector<pve::firewall::Rule> rules_among_strangers(const std::vector<WireSubnet>& subnets,
                                                       const std::vector<Cidr>& foreign);

}  // namespace px::network
