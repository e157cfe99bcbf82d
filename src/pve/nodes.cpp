#include "pve/nodes.hpp"

#include <fmt/format.h>

namespace px::pve::nodes {

awaitable<std::vector<NodeSummary>> list(Client& client, CallOptions options) {
  const auto data = co_await client.get("/nodes", {}, std::move(options));
  std::vector<NodeSummary> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    const auto status = json::text_or(entry, "status");
    out.push_back({.name = NodeName::parse(json::text_at(entry, "node")),
                   .online = status == "online",
                   .offline = status == "offline"});
  }
  co_return out;
}

awaitable<NodeStatus> status(Client& client, NodeName node) {
  const auto data =
      co_await client.get(fmt::format("/nodes/{}/status", node), {}, {.load = Load::light});
  NodeStatus out;
  if (const auto* memory = json::find(data, "memory")) {
    out.memory_total = json::number_or(*memory, "total", 0);
    // "available" (since 9.0) counts what caches can give back.
    out.memory_free = json::number_or(*memory, "available", json::number_or(*memory, "free", 0));
  }
  if (const auto* cpu = json::find(data, "cpuinfo")) {
    out.cpus = static_cast<int>(json::number_or(*cpu, "cpus", 0));
    out.kvm = json::flag_or(*cpu, "hvm", false);
  }
  out.version = json::text_or(data, "pveversion");
  co_return out;
}

awaitable<std::vector<NetworkInterface>> interfaces(Client& client, NodeName node) {
  const auto data =
      co_await client.get(fmt::format("/nodes/{}/network", node), {}, {.load = Load::light});
  std::vector<NetworkInterface> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    NetworkInterface item{json::text_or(entry, "iface"), json::text_or(entry, "type"), {}};
    for (const auto* key : {"cidr", "cidr6"}) {
      if (auto text = json::text_or(entry, key); !text.empty()) item.cidrs.push_back(text);
    }
    out.push_back(std::move(item));
  }
  co_return out;
}

awaitable<std::optional<bool>> is_installed(Client& client, NodeName node,
                                            std::string_view package) {
  json::value data;
  try {
    data = co_await client.get(fmt::format("/nodes/{}/apt/versions", node));
  } catch (const Error& error) {
    if (error.kind != Errc::forbidden && error.kind != Errc::unsupported) throw;
  }
  if (!data.is_array()) co_return std::nullopt;
  for (const auto& entry : data.get_array()) {
    if (json::text_or(entry, "Package") != package) continue;
    co_return json::text_or(entry, "CurrentState", "Installed") == "Installed";
  }
  co_return false;
}

}  // namespace px::pve::nodes
