#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <string>
#include <vector>

/// /nodes and /nodes/{node}/status.
namespace px::pve::nodes {

struct NodeSummary {
  NodeName name;
  bool online = false;
};
awaitable<std::vector<NodeSummary>> list(Client& client);

struct NodeStatus {
  int cpus = 0;
  std::int64_t memory_total = 0;  ///< bytes
  std::int64_t memory_free = 0;   ///< bytes
  bool kvm = false;               ///< the CPU has hardware virtualisation
  std::string version;            ///< pve-manager's
};
/// Needs Sys.Audit on the node.
awaitable<NodeStatus> status(Client& client, NodeName node);

}  // namespace px::pve::nodes
