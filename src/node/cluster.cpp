#include "node/cluster.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <utility>

namespace px::node {

Cluster::Cluster(State& state, ClusterVms& vms, std::vector<ClusterNode> nodes, bool kvm)
    : state_{state}, vms_{vms}, nodes_{std::move(nodes)}, kvm_{kvm} {
  load_pools();
}

ClusterNode* Cluster::find(std::string_view node) {
  if (node == "localhost") return &local();
  const auto found = std::find_if(nodes_.begin(), nodes_.end(),
                                  [&](const auto& one) { return one.vms.node() == node; });
  return found == nodes_.end() ? nullptr : &*found;
}

ClusterNode& Cluster::at(std::string_view node) {
  if (auto* found = find(node)) return *found;
  throw ApiError{500, fmt::format("no such cluster node '{}'", node)};
}

ClusterNode& Cluster::reachable(const std::string& node) {
  auto* found = find(node);
  if (found == nullptr) {
    throw ApiError{500, fmt::format("hostname lookup '{0}' failed - failed to get address info "
                                    "for: {0}: Temporary failure in name resolution\n",
                                    node)};
  }
  if (!found->online) throw ApiError{595, "No route to host"};
  return *found;
}

void Cluster::load_pools() {
  const auto text = state_.read("pools.json");
  if (!text) return;
  const auto stored = json::parse(*text, "pools.json");
  for (const auto& [id, value] : stored.as_object()) {
    Pool pool{json::text_or(value, "comment"), {}};
    for (const auto& member : value.at("members").as_array()) {
      const int vmid = static_cast<int>(member.as_int64());
      if (vms_.find(vmid)) pool.members.insert(vmid);
    }
    pools_[std::string{id}] = std::move(pool);
  }
}

void Cluster::save_pools() const {
  json::object out;
  for (const auto& [id, pool] : pools_) {
    json::array members;
    for (const int vmid : pool.members) members.emplace_back(vmid);
    out[id] = json::object{{"comment", pool.comment}, {"members", members}};
  }
  state_.write("pools.json", boost::json::serialize(out));
}

std::string Cluster::pool_of(int vmid) const {
  for (const auto& [id, pool] : pools_) {
    if (pool.members.contains(vmid)) return id;
  }
  return {};
}

void Cluster::check_pool(const std::string& pool) const {
  if (pools_.contains(pool)) return;
  throw ApiError{403, fmt::format("Permission check failed (pool '{}' does not exist)", pool)};
}

void Cluster::join(const std::string& pool, int vmid) {
  check_pool(pool);
  pools_[pool].members.insert(vmid);
  save_pools();
}

void Cluster::leave(int vmid) {
  for (auto& [id, pool] : pools_) {
    if (pool.members.erase(vmid) > 0) save_pools();
  }
}

awaitable<json::value> Cluster::version(Call&) {
  // The version whose schema the routes are checked against.
  co_return json::object{{"version", "9.2.11"}, {"release", "9.2"}, {"repoid", "local-node"}};
}

/// What is known of a node that can't be reached is what it is made of (pve-manager API2Tools.pm,
/// extract_node_stats).
json::object Cluster::node_entry(const ClusterNode& node) const {
  const auto memory = node.vms.memory();
  const auto disk = std::filesystem::space(state_.directory());
  json::object out{{"id", "node/" + node.vms.node()},
                   {"node", node.vms.node()},
                   {"type", "node"},
                   {"status", node.online ? "online" : "offline"},
                   {"level", ""},
                   {"maxcpu", node.vms.cores()},
                   {"maxmem", memory.total},
                   {"maxdisk", disk.capacity}};
  if (!node.online) return out;
  out["uptime"] = host_uptime();
  out["cpu"] = node.vms.load();
  out["mem"] = memory.used;
  out["disk"] = disk.capacity - disk.free;
  return out;
}

awaitable<json::value> Cluster::nodes(Call&) {
  json::array out;
  for (const auto& node : nodes_) out.push_back(node_entry(node));
  co_return out;
}

awaitable<json::value> Cluster::node_status(Call& call) {
  const auto& vms = at(call.text("node")).vms;
  const auto memory = vms.memory();
  const auto free = memory.total - memory.used;
  co_return json::object{
      {"uptime", host_uptime()},
      {"pveversion", "pve-manager/9.2.11/local-node"},
      {"cpu", vms.load()},
      {"memory",
       json::object{
           {"total", memory.total}, {"free", free}, {"available", free}, {"used", memory.used}}},
      {"cpuinfo", json::object{{"cpus", vms.cores()},
                               {"cores", vms.cores()},
                               {"sockets", 1},
                               {"hvm", kvm_ ? "1" : "0"}}}};
}

awaitable<json::value> Cluster::next_id(Call& call) {
  if (!call.has("vmid")) co_return json::value(std::to_string(vms_.lowest_free()));
  const auto wanted = static_cast<int>(call.number("vmid"));
  if (vms_.find(wanted)) {
    throw ApiError::parameter("vmid", fmt::format("VM {} already exists", wanted));
  }
  co_return json::value(std::to_string(wanted));
}

json::object Cluster::vm_entry(Vm& vm) {
  const auto& node = at(vm.node);
  json::object out{{"vmid", vm.id}, {"status", "unknown"}};
  if (node.online) {
    out = node.vms.summary(vm, false);
    const json::value cores = out.at("cpus");  // a copy: a new key moves the others
    out["maxcpu"] = cores;
    out.erase("cpus");
  }
  out["id"] = fmt::format("qemu/{}", vm.id);
  out["type"] = "qemu";
  out["node"] = vm.node;
  if (const auto pool = pool_of(vm.id); !pool.empty()) out["pool"] = pool;
  return out;
}

awaitable<json::value> Cluster::resources(Call& call) {
  json::array out;
  const auto type = call.text_or("type", "");
  if (type.empty() || type == "vm") {
    for (const auto& [vmid, vm] : vms_.all()) out.push_back(vm_entry(*vm));
  }
  for (const auto& node : nodes_) {
    if (type.empty() || type == "node") out.push_back(node_entry(node));
    if (!type.empty() && type != "storage") continue;
    for (const auto& storage : node.vms.storages().all()) {
      out.push_back(json::object{{"id", fmt::format("storage/{}/{}", node.vms.node(), storage.id)},
                                 {"type", "storage"},
                                 {"node", node.vms.node()},
                                 {"storage", storage.id},
                                 {"plugintype", "dir"},
                                 {"shared", storage.shared ? 1 : 0},
                                 {"status", node.online ? "available" : "unknown"},
                                 {"content", fmt::format("{}", fmt::join(storage.content, ","))}});
    }
  }
  co_return out;
}

awaitable<json::value> Cluster::cluster_status(Call&) {
  json::array out;
  const auto count = nodes_.size();
  if (count > 1) {
    const auto online =
        std::count_if(nodes_.begin(), nodes_.end(), [](const auto& node) { return node.online; });
    out.push_back(json::object{{"type", "cluster"},
                               {"id", "cluster"},
                               {"name", "simulated"},
                               {"version", count},
                               {"nodes", count},
                               {"quorate", 2 * static_cast<std::size_t>(online) > count ? 1 : 0}});
  }
  for (const auto& node : nodes_) {
    // nodeid 0 is that of a node without a cluster (pve-manager API2/Cluster.pm, get_status).
    const auto number = &node - nodes_.data();
    out.push_back(json::object{{"id", "node/" + node.vms.node()},
                               {"name", node.vms.node()},
                               {"type", "node"},
                               {"nodeid", count > 1 ? number + 1 : 0},
                               {"level", ""},
                               {"online", node.online ? 1 : 0},
                               {"local", number == 0 ? 1 : 0}});
  }
  co_return out;
}

awaitable<json::value> Cluster::tasks(Call&) {
  json::array out;
  for (const auto& node : nodes_) {
    for (auto& item : node.tasks.recent()) out.push_back(std::move(item));
  }
  co_return out;
}

awaitable<json::value> Cluster::switch_node(Call& call) {
  auto& node = at(call.text("node"));
  if (&node == &local()) {
    throw ApiError::parameter("node", "the node that answers is always online");
  }
  node.online = call.flag("online");
  co_return nullptr;
}

json::object Cluster::pool_entry(const std::string& id) const {
  const auto it = pools_.find(id);
  if (it == pools_.end()) throw ApiError{500, fmt::format("pool '{}' does not exist", id)};
  json::array members;
  for (const int vmid : it->second.members) {
    members.push_back(json::object{{"vmid", vmid},
                                   {"type", "qemu"},
                                   {"id", fmt::format("qemu/{}", vmid)},
                                   {"node", vms_.find(vmid)->node}});
  }
  return {{"poolid", id}, {"comment", it->second.comment}, {"members", members}};
}

awaitable<json::value> Cluster::pools(Call& call) {
  if (call.path != "/pools") co_return pool_entry(call.text("poolid"));
  if (call.has("poolid")) co_return json::array{pool_entry(call.text("poolid"))};
  json::array out;
  for (const auto& [id, pool] : pools_)
    out.push_back(json::object{{"poolid", id}, {"comment", pool.comment}});
  co_return out;
}

awaitable<json::value> Cluster::make_pool(Call& call) {
  const auto& id = call.text("poolid");
  if (pools_.contains(id))
    throw ApiError{500, fmt::format("create pool failed: pool '{}' already exists", id)};
  pools_[id] = {call.text_or("comment", ""), {}};
  save_pools();
  co_return nullptr;
}

awaitable<json::value> Cluster::change_pool(Call& call) {
  const auto& id = call.text("poolid");
  if (!pools_.contains(id))
    throw ApiError{500, fmt::format("update pools failed: pool '{}' does not exist", id)};
  auto& pool = pools_[id];
  if (call.has("comment")) pool.comment = call.text("comment");
  if (call.has("vms")) {
    std::istringstream words{call.text("vms")};
    for (std::string word; std::getline(words, word, ',');) {
      const int vmid = std::atoi(word.c_str());
      if (!vms_.find(vmid)) local().vms.at(vmid);  // throws
      if (call.flag("delete")) {
        pool.members.erase(vmid);
      } else {
        if (!pool_of(vmid).empty() && !call.flag("allow-move")) {
          throw ApiError{500, fmt::format("update pools failed: VM {} belongs already to pool '{}'",
                                          vmid, pool_of(vmid))};
        }
        leave(vmid);
        pool.members.insert(vmid);
      }
    }
  }
  save_pools();
  co_return nullptr;
}

awaitable<json::value> Cluster::remove_pool(Call& call) {
  const auto& id = call.text("poolid");
  const auto it = pools_.find(id);
  if (it == pools_.end())
    throw ApiError{500, fmt::format("delete pool failed: pool '{}' does not exist", id)};
  if (!it->second.members.empty()) {
    throw ApiError{500, fmt::format("delete pool failed: pool '{}' is not empty (contains VM {})",
                                    id, *it->second.members.begin())};
  }
  pools_.erase(it);
  save_pools();
  co_return nullptr;
}

void Cluster::add_control_routes() {
  local().router.add({.method = "POST",
                      .path = "/_control/nodes",
                      .params = {{.name = "node", .required = true, .format = "pve-node"},
                                 {.name = "online", .type = ParamType::boolean, .required = true}},
                      .handler = [this](Call& call) { return switch_node(call); },
                      .open = true});
}

void Cluster::add_routes(Router& router) {
  const auto bind = [this](awaitable<json::value> (Cluster::*handler)(Call&)) -> Handler {
    return [this, handler](Call& call) { return (this->*handler)(call); };
  };
  const Param pool_id{.name = "poolid", .required = true, .format = "pve-poolid"};
  const std::vector<Param> changes{{.name = "comment"},
                                   {.name = "vms"},
                                   {.name = "storage"},
                                   {.name = "allow-move", .type = ParamType::boolean},
                                   {.name = "delete", .type = ParamType::boolean}};
  auto changes_by_query = changes;
  changes_by_query.push_back(pool_id);
  router.add(
      {.method = "GET", .path = "/version", .params = {}, .handler = bind(&Cluster::version)});
  router.add({.method = "GET",
              .path = "/nodes/{node}/version",
              .params = {},
              .handler = bind(&Cluster::version)});
  router.add({.method = "GET", .path = "/nodes", .params = {}, .handler = bind(&Cluster::nodes)});
  router.add({.method = "GET",
              .path = "/nodes/{node}/status",
              .params = {},
              .handler = bind(&Cluster::node_status)});
  router.add({.method = "GET",
              .path = "/cluster/nextid",
              .params = {{.name = "vmid",
                          .type = ParamType::integer,
                          .minimum = 100,
                          .maximum = 999'999'999,
                          .format = "pve-vmid"}},
              .handler = bind(&Cluster::next_id)});
  router.add({.method = "GET",
              .path = "/cluster/resources",
              .params = {{.name = "type", .one_of = {"vm", "storage", "node", "sdn"}}},
              .handler = bind(&Cluster::resources)});
  router.add({.method = "GET",
              .path = "/cluster/status",
              .params = {},
              .handler = bind(&Cluster::cluster_status),
              .is_protected = true});
  router.add(
      {.method = "GET", .path = "/cluster/tasks", .params = {}, .handler = bind(&Cluster::tasks)});
  router.add({.method = "GET",
              .path = "/pools",
              .params = {{.name = "poolid", .format = "pve-poolid"},
                         {.name = "type", .one_of = {"qemu", "lxc", "storage"}, .needs = "poolid"}},
              .handler = bind(&Cluster::pools)});
  router.add({.method = "GET",
              .path = "/pools/{poolid}",
              .params = {{.name = "type", .one_of = {"qemu", "lxc", "storage"}}},
              .handler = bind(&Cluster::pools)});
  router.add({.method = "POST",
              .path = "/pools",
              .params = {pool_id, {.name = "comment"}},
              .handler = bind(&Cluster::make_pool),
              .is_protected = true});
  router.add({.method = "PUT",
              .path = "/pools",
              .params = changes_by_query,
              .handler = bind(&Cluster::change_pool),
              .is_protected = true});
  router.add({.method = "PUT",
              .path = "/pools/{poolid}",
              .params = changes,
              .handler = bind(&Cluster::change_pool),
              .is_protected = true});
  router.add({.method = "DELETE",
              .path = "/pools",
              .params = {pool_id},
              .handler = bind(&Cluster::remove_pool),
              .is_protected = true});
  router.add({.method = "DELETE",
              .path = "/pools/{poolid}",
              .params = {},
              .handler = bind(&Cluster::remove_pool),
              .is_protected = true});
}

}  // namespace px::node
