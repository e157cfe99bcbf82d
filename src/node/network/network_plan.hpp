#pragma once
#include "node/network/ipam.hpp"
#include "node/network/sdn_config.hpp"

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

/// What must be in the namespace for a configuration: texts for ip(8), nft(8) and dnsmasq(8). Pure.
namespace px::node {

/// A subnet with a gateway: the bridge carries its address.
struct PlannedSubnet {
  Subnet subnet;
  Cidr gateway;
};

/// A bridge to be.
struct PlannedNetwork {
  std::string name;
  std::vector<PlannedSubnet> subnets;  ///< those with a gateway
  bool has_dhcp = false;
  bool isolate_ports = false;
  int mtu = 0;  ///< 0 = the kernel's

  bool has_v6() const;
};

/// The VNets of the zones that are on `node`, by name.
std::map<std::string, PlannedNetwork> planned_networks(const SdnConfig& config,
                                                       const std::string& node);

/// An interface that is there.
struct Link {
  std::string kind;                 ///< bridge, tun...
  std::set<std::string> addresses;  ///< 10.9.0.1/24; without link-local ones
  std::string master;
};
/// Reads `ip -j -d addr show`.
std::map<std::string, Link> parse_links(const std::string& output);

/// Lines for `ip -batch` that turn `links` into the planned bridges. The taps of a bridge that goes
/// stay without one, as on the real server (exchange 29).
std::string bridge_changes(const std::map<std::string, Link>& links,
                           const std::map<std::string, PlannedNetwork>& networks);

/// The interface of one NIC in the namespace, as Proxmox VE names it.
std::string tap_name(int vmid, const std::string& nic);
/// Lines that make a tap, on a bridge or, when `network` is nullptr, on none.
std::string tap_lines(const std::string& tap, const PlannedNetwork* network);
/// Lines that put a tap that is there on another bridge.
std::string move_lines(const std::string& tap, const PlannedNetwork* network);

/// The way out of the namespace.
struct Uplink {
  std::string interface;  ///< empty = there is none
  std::string resolver;   ///< where DNS queries of the namespace go
  /// What no guest may reach through it: the host's own addresses and networks.
  std::vector<std::string> closed;
};

/// The whole ruleset for `nft -f`; replaces what was there in one step.
///
/// Closed by default: no guest reaches the namespace itself but for DHCP, DNS and ping of its own
/// gateway; nothing is forwarded but frames inside one VNet, and packets of subnets with SNAT to
/// the uplink, there not to link-local (metadata) addresses nor to what `closed` names.
std::string firewall_rules(const std::map<std::string, PlannedNetwork>& networks,
                           const Uplink& uplink);

/// The configuration of a VNet's DHCP and DNS server, or nothing when it has none. Only VNets with
/// SNAT may ask beyond it: a name server is a way out.
std::string dhcp_config(const PlannedNetwork& network, const Ipam& ipam, const Uplink& uplink,
                        const std::filesystem::path& pid_file);

}  // namespace px::node
