#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// /nodes, /nodes/{node}/status, /nodes/{node}/network and /nodes/{node}/apt/versions.
namespace px::pve::nodes {

struct NodeSummary {
  NodeName name;
  bool online = false;
  bool offline = false;  ///< the cluster knows that it is; neither while nothing is known
};
awaitable<std::vector<NodeSummary>> list(Client& client,
                                         CallOptions options = {.load = Load::light});

struct NodeStatus {
  int cpus = 0;
  std::int64_t memory_total = 0;  ///< bytes
  std::int64_t memory_free = 0;   ///< bytes
  bool kvm = false;               ///< the CPU has hardware virtualisation
  std::string version;            ///< pve-manager's
};
/// Needs Sys.Audit on the node.
awaitable<NodeStatus> status(Client& client, NodeName node);

struct NetworkInterface {
  std::string name;
  std::string type;                ///< bridge, eth, vnet...
  std::vector<std::string> cidrs;  ///< its own addresses with their networks: `10.99.0.2/24`
};
/// A node's interfaces as they are configured. Lists what the caller may see.
awaitable<std::vector<NetworkInterface>> interfaces(Client& client, NodeName node);

/// Whether a package that Proxmox VE counts as important to it is installed: dnsmasq, ifupdown2,
/// libpve-network-perl, proxmox-firewall and others, which are listed only when they are there
/// (pve-manager API2/APT.pm). Empty where it can't be told: Sys.Audit on the node is missing, or
/// the server keeps no such list.
awaitable<std::optional<bool>> is_installed(Client& client, NodeName node,
                                            std::string_view package);

}  // namespace px::pve::nodes
