#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <cstdint>
#include <string>
#include <vector>

/// /cluster: next id, resources, tasks.
namespace px::pve::cluster {

/// The lowest free id. Not a reservation: create, and on already_exists take another.
awaitable<Vmid> next_id(Client& client);
/// Whether nobody has this id now.
awaitable<bool> is_free(Client& client, Vmid vmid);

/// A VM anywhere in the cluster. Name, tags and template come up to 10 s late: look them up in
/// qemu::list() (pve-facts section 5).
struct VmResource {
  VmRef vm;
  std::string name;
  std::string status;
  std::string pool;
  std::vector<std::string> tags;
  bool is_template = false;
};
awaitable<std::vector<VmResource>> vms(Client& client);

/// A node of the cluster, and what it has; 0: not told without Sys.Audit on it.
struct NodeResource {
  NodeName name;
  bool online = false;
  std::int64_t memory = 0;  ///< bytes
  int cores = 0;
};
/// What a VM or container may use; 0 for one that is new to the statistics (for up to 10 s).
struct GuestResource {
  NodeName node;
  std::uint32_t vmid = 0;
  bool is_stopped = false;  ///< or a template
  std::int64_t memory = 0;  ///< bytes
  int cores = 0;
};
struct Resources {
  std::vector<NodeResource> nodes;
  std::vector<GuestResource> guests;
};
/// All of the cluster that the caller may see, in one request.
awaitable<Resources> resources(Client& client);

struct ClusterTask {
  std::string upid;
  std::string status;  ///< empty while running
};
awaitable<std::vector<ClusterTask>> tasks(Client& client);

}  // namespace px::pve::cluster
