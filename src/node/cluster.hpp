#pragma once
#include "node/route.hpp"
#include "node/state.hpp"
#include "node/tasks.hpp"
#include "node/vm/vms.hpp"

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace px::node {

/// One node of the cluster: its VMs and tasks, and the routes that lead to them.
struct ClusterNode {
  Vms& vms;
  Tasks& tasks;
  Router& router;
  bool online = true;
};

/// The nodes, and what is asked of them and their cluster: /version, /nodes, /cluster, /pools.
class Cluster {
 public:
  /// The first of `nodes` is the one that answers. `kvm`: whether VMs here run with hardware
  /// virtualisation.
  Cluster(State& state, ClusterVms& vms, std::vector<ClusterNode> nodes, bool kvm);
  void add_routes(Router& router);
  /// POST /_control/nodes, which takes a node from the network and puts it back.
  void add_control_routes();

  ClusterNode& local() { return nodes_.front(); }
  /// `localhost` is the one that answers. Throws ApiError 500 "no such cluster node 'x'".
  ClusterNode& at(std::string_view node);
  /// The same for the node of a request's path: throws as pveproxy does while it passes a request
  /// on to a node that it does not know (500) or can't reach (595).
  ClusterNode& reachable(const std::string& node);

  /// Puts a new VM into a pool. Throws ApiError 403 for an unknown one, as PVE does in clone.
  void join(const std::string& pool, int vmid);
  void check_pool(const std::string& pool) const;
  /// VMs leave their pool when they are destroyed.
  void leave(int vmid);

 private:
  struct Pool {
    std::string comment;
    std::set<int> members;
  };

  void load_pools();
  void save_pools() const;
  std::string pool_of(int vmid) const;
  json::object pool_entry(const std::string& id) const;
  awaitable<json::value> version(Call& call);
  ClusterNode* find(std::string_view node);
  json::object node_entry(const ClusterNode& node) const;
  json::object vm_entry(Vm& vm);
  awaitable<json::value> nodes(Call& call);
  awaitable<json::value> node_status(Call& call);
  awaitable<json::value> next_id(Call& call);
  awaitable<json::value> resources(Call& call);
  awaitable<json::value> cluster_status(Call& call);
  awaitable<json::value> tasks(Call& call);
  awaitable<json::value> switch_node(Call& call);
  awaitable<json::value> pools(Call& call);
  awaitable<json::value> make_pool(Call& call);
  awaitable<json::value> change_pool(Call& call);
  awaitable<json::value> remove_pool(Call& call);

  State& state_;
  ClusterVms& vms_;
  std::vector<ClusterNode> nodes_;
  bool kvm_;
  std::map<std::string, Pool> pools_;
};

}  // namespace px::node
