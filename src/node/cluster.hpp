#pragma once
#include "node/route.hpp"
#include "node/state.hpp"
#include "node/vm/vms.hpp"

#include <map>
#include <set>
#include <string>

namespace px::node {

/// What is asked of the node and its cluster of one: /version, /nodes, /cluster, /pools.
class Cluster {
 public:
  /// `kvm`: whether VMs here run with hardware virtualisation.
  Cluster(State& state, Vms& vms, bool kvm);
  void add_routes(Router& router);

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
  awaitable<json::value> nodes(Call& call);
  awaitable<json::value> node_status(Call& call);
  awaitable<json::value> next_id(Call& call);
  awaitable<json::value> resources(Call& call);
  awaitable<json::value> cluster_status(Call& call);
  awaitable<json::value> pools(Call& call);
  awaitable<json::value> make_pool(Call& call);
  awaitable<json::value> change_pool(Call& call);
  awaitable<json::value> remove_pool(Call& call);

  State& state_;
  Vms& vms_;
  bool kvm_;
  std::map<std::string, Pool> pools_;
};

}  // namespace px::node
