#include "pve/firewall.hpp"

#include "pve/once.hpp"
#include "pve/qemu.hpp"
#include "support/bytes.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::pve::firewall {

namespace {

Params params_of(const Rule& rule) {
  return std::move(Params{}
                       .add("type", rule.type)
                       .add("action", rule.action)
                       .add("enable", true)
                       .add_if(!rule.source.empty(), "source", rule.source)
                       .add_if(!rule.dest.empty(), "dest", rule.dest)
                       .add_if(!rule.proto.empty(), "proto", rule.proto)
                       .add_if(!rule.dport.empty(), "dport", rule.dport)
                       .add_if(!rule.iface.empty(), "iface", rule.iface));
}

/// A rule that is there twice says the same.
CallOptions options_of(Deadline deadline, std::string doing) {
  return {
      .deadline = deadline, .repeatable = true, .wait_for_lock = true, .doing = std::move(doing)};
}

/// A new rule goes before all others, so the last one goes first.
awaitable<void> add_rules(Client& client, std::string path, const std::vector<Rule>& rules,
                          CallOptions options) {
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    co_await client.post(path, params_of(*rule), options);
  }
}

std::string group_path(const std::string& name) {
  return "/cluster/firewall/groups/" + percent_encode(name);
}

/// 0 for a group that is gone.
awaitable<std::size_t> count_rules(Client& client, std::string group) {
  try {
    const auto rules = co_await client.get(std::move(group), {}, {.load = Load::light});
    co_return rules.is_array() ? rules.get_array().size() : 0;
  } catch (const Error& error) {
    if (error.kind != Errc::not_found) throw;
  }
  co_return 0;
}

awaitable<std::size_t> count_enabled_rules(Client& client, std::string path) {
  json::value data;
  try {
    data = co_await client.get(std::move(path));
  } catch (const Error& error) {
    // The local node has rules of VMs and groups only.
    if (error.kind != Errc::unsupported) throw;
  }
  std::size_t out = 0;
  if (!data.is_array()) co_return out;
  for (const auto& rule : data.get_array()) out += json::flag_or(rule, "enable", false) ? 1 : 0;
  co_return out;
}

}  // namespace

awaitable<bool> is_enabled(Client& client) {
  const auto data = co_await client.get("/cluster/firewall/options", {}, {.load = Load::light});
  co_return json::flag_or(data, "enable", false);
}

awaitable<void> enable(Client& client) {
  co_await client.put("/cluster/firewall/options",
                      Params{}.add("enable", true).add("policy_in", "ACCEPT"),
                      {.repeatable = true, .doing = "switch the datacenter's firewall on"});
}

awaitable<Dormant> dormant(Client& client, std::vector<NodeName> nodes) {
  Dormant out;
  const auto options = co_await client.get("/cluster/firewall/options", {}, {.load = Load::light});
  out.policy_in = json::text_or(options, "policy_in");
  out.datacenter = co_await count_enabled_rules(client, "/cluster/firewall/rules");
  for (const auto& node : nodes) {
    out.nodes +=
        co_await count_enabled_rules(client, fmt::format("/nodes/{}/firewall/rules", node));
  }
  co_return out;
}

// --- security groups -----------------------------------------------------------------------------

awaitable<std::vector<Group>> groups(Client& client) {
  const auto data = co_await client.get("/cluster/firewall/groups", {}, {.load = Load::light});
  std::vector<Group> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    out.push_back({json::text_at(entry, "group"), json::text_or(entry, "comment")});
  }
  co_return out;
}

awaitable<void> create_group(Client& client, Group group, std::vector<Rule> rules,
                             Deadline deadline) {
  auto options = options_of(deadline, "create security group " + group.name);
  auto is_there = [&]() -> awaitable<bool> {
    const auto all = co_await groups(client);
    co_return std::ranges::any_of(all, [&](const Group& other) {
      return other.name == group.name && other.comment == group.comment;
    });
  };
  options.repeatable = false;
  co_await create_once(client, "/cluster/firewall/groups",
                       Params{}.add("group", group.name).add("comment", group.comment), options,
                       is_there);
  options.repeatable = true;
  co_await add_rules(client, group_path(group.name), rules, options);
}

awaitable<void> remove_group(Client& client, std::string name, Deadline deadline) {
  const auto options = options_of(deadline, "remove security group " + name);
  // The highest first: when an answer is lost, the repeat hits no other rule.
  for (auto left = co_await count_rules(client, group_path(name)); left > 0; --left) {
    co_await remove_if_there(client, fmt::format("{}/{}", group_path(name), left - 1), {}, options);
  }
  co_await remove_if_there(client, group_path(name), {}, options);
}

// --- of one VM -----------------------------------------------------------------------------------

awaitable<bool> is_enabled_for(Client& client, VmRef vm) {
  const auto options = co_await client.get(qemu::path_of(vm, "/firewall/options"));
  co_return json::flag_or(options, "enable", false);
}

awaitable<void> guard(Client& client, VmRef vm, std::vector<Rule> rules, Deadline deadline) {
  const auto options = options_of(deadline, fmt::format("guard VM {}", vm.vmid));
  co_await add_rules(client, qemu::path_of(vm, "/firewall/rules"), rules, options);
  co_await client.put(qemu::path_of(vm, "/firewall/options"),
                      Params{}
                          .add("enable", true)
                          .add("policy_in", "DROP")
                          .add("policy_out", "DROP")
                          // On, it lets DHCP's ports through to any address (pve-firewall
                          // Firewall.pm): a way out. Rules name where it may go.
                          .add("dhcp", false)
                          .add("ndp", true)
                          .add("macfilter", true),
                      options);
}

}  // namespace px::pve::firewall
