#include "node/cluster.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <sys/sysinfo.h>
#include <thread>
#include <unistd.h>

namespace px::node {

namespace {

constexpr int first_vmid = 100;
constexpr int last_vmid = 1'000'000;

/// Bytes of a line of /proc/meminfo.
std::int64_t memory_info(std::string_view key) {
  std::ifstream file{"/proc/meminfo"};
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    std::istringstream words{line.substr(key.size() + 1)};
    std::int64_t kibibytes = 0;
    words >> kibibytes;
    return kibibytes * 1024;
  }
  return 0;
}

std::int64_t host_uptime() {
  struct sysinfo info{};
  return ::sysinfo(&info) == 0 ? info.uptime : 0;
}

}  // namespace

Cluster::Cluster(State& state, Vms& vms, bool kvm) : state_{state}, vms_{vms}, kvm_{kvm} {
  load_pools();
}

void Cluster::load_pools() {
  const auto text = state_.read("pools.json");
  if (!text) return;
  const auto stored = json::parse(*text, "pools.json");
  for (const auto& [id, value] : stored.as_object()) {
    Pool pool{json::text_or(value, "comment"), {}};
    for (const auto& member : value.at("members").as_array()) {
      const int vmid = static_cast<int>(member.as_int64());
      if (vms_.has(vmid)) pool.members.insert(vmid);
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

awaitable<json::value> Cluster::nodes(Call&) {
  co_return json::array{json::object{{"node", vms_.node()},
                                     {"status", "online"},
                                     {"type", "node"},
                                     {"id", "node/" + vms_.node()},
                                     {"maxcpu", std::thread::hardware_concurrency()},
                                     {"maxmem", memory_info("MemTotal")},
                                     {"mem", memory_info("MemTotal") - memory_info("MemAvailable")},
                                     {"uptime", host_uptime()},
                                     {"level", ""}}};
}

awaitable<json::value> Cluster::node_status(Call&) {
  const auto total = memory_info("MemTotal");
  const auto available = memory_info("MemAvailable");
  co_return json::object{
      {"uptime", host_uptime()},
      {"pveversion", "pve-manager/9.2.11/local-node"},
      {"memory", json::object{{"total", total}, {"free", available}, {"used", total - available}}},
      {"cpuinfo", json::object{{"cpus", std::thread::hardware_concurrency()},
                               {"cores", std::thread::hardware_concurrency()},
                               {"sockets", 1},
                               {"hvm", kvm_ ? "1" : "0"}}}};
}

awaitable<json::value> Cluster::next_id(Call& call) {
  if (call.has("vmid")) {
    const auto wanted = static_cast<int>(call.number("vmid"));
    if (vms_.has(wanted))
      throw ApiError::parameter("vmid", fmt::format("VM {} already exists", wanted));
    co_return json::value(std::to_string(wanted));
  }
  for (int vmid = first_vmid; vmid < last_vmid; ++vmid) {
    if (!vms_.has(vmid)) co_return json::value(std::to_string(vmid));
  }
  throw ApiError{500, "unable to get any free VMID"};
}

awaitable<json::value> Cluster::resources(Call& call) {
  json::array out;
  const auto type = call.text_or("type", "");
  if (type.empty() || type == "vm") {
    for (const auto& [vmid, vm] : vms_.all()) {
      auto item = vms_.summary(*vm, false);
      item["id"] = fmt::format("qemu/{}", vmid);
      item["type"] = "qemu";
      item["node"] = vms_.node();
      if (const auto pool = pool_of(vmid); !pool.empty()) item["pool"] = pool;
      out.push_back(item);
    }
  }
  if (type.empty() || type == "node") {
    out.push_back(json::object{{"id", "node/" + vms_.node()},
                               {"type", "node"},
                               {"node", vms_.node()},
                               {"status", "online"}});
  }
  if (type.empty() || type == "storage") {
    for (const auto& storage : vms_.storages().all()) {
      out.push_back(json::object{{"id", fmt::format("storage/{}/{}", vms_.node(), storage.id)},
                                 {"type", "storage"},
                                 {"node", vms_.node()},
                                 {"storage", storage.id},
                                 {"status", "available"},
                                 {"content", fmt::format("{}", fmt::join(storage.content, ","))}});
    }
  }
  co_return out;
}

awaitable<json::value> Cluster::cluster_status(Call&) {
  co_return json::array{json::object{{"id", "node/" + vms_.node()},
                                     {"name", vms_.node()},
                                     {"type", "node"},
                                     {"online", 1},
                                     {"local", 1}}};
}

json::object Cluster::pool_entry(const std::string& id) const {
  const auto it = pools_.find(id);
  if (it == pools_.end()) throw ApiError{500, fmt::format("pool '{}' does not exist", id)};
  json::array members;
  for (const int vmid : it->second.members) {
    members.push_back(json::object{{"vmid", vmid},
                                   {"type", "qemu"},
                                   {"id", fmt::format("qemu/{}", vmid)},
                                   {"node", vms_.node()}});
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
      vms_.at(vmid);
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
