#include "pve/cluster.hpp"

#include "pve/qemu.hpp"

namespace px::pve::cluster {

awaitable<Vmid> next_id(Client& client) {
  const auto data = co_await client.get("/cluster/nextid", {}, {.load = Load::light});
  co_return data.is_string() ? Vmid::parse(std::string_view{data.get_string()})
                             : Vmid::from_number(data.to_number<std::int64_t>());
}

awaitable<bool> is_free(Client& client, Vmid vmid) {
  try {
    co_await client.get("/cluster/nextid", Params{}.add("vmid", vmid), {.load = Load::light});
    co_return true;
  } catch (const Error& e) {
    if (e.kind != Errc::already_exists) throw;
  }
  co_return false;
}

awaitable<Resources> resources(Client& client) {
  const auto data = co_await client.get("/cluster/resources", {}, {.load = Load::light});
  Resources out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    const auto type = json::text_or(entry, "type");
    const bool is_node = type == "node";
    if (!is_node && type != "qemu" && type != "lxc") continue;
    const auto node = NodeName::parse(json::text_at(entry, "node"));
    const auto status = json::text_or(entry, "status");
    const auto memory = json::number_or(entry, "maxmem", 0);
    const auto cores = static_cast<int>(json::number_or(entry, "maxcpu", 0));
    if (is_node) {
      out.nodes.push_back({node, status == "online", memory, cores});
    } else {
      using State = GuestResource::State;
      out.guests.push_back({.node = node,
                            .vmid = static_cast<std::uint32_t>(json::number_at(entry, "vmid")),
                            .state = status == "unknown"   ? State::unknown
                                     : status == "stopped" ? State::stopped
                                                           : State::running,
                            .is_template = json::flag_or(entry, "template", false),
                            .tags = qemu::split_tags(json::text_or(entry, "tags")),
                            .memory = memory,
                            .cores = cores});
    }
  }
  co_return out;
}

}  // namespace px::pve::cluster
