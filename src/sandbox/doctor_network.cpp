// What the doctor says of a server's networks: SDN, addresses, firewall.
#include "pve/access.hpp"
#include "pve/firewall.hpp"
#include "pve/nodes.hpp"
#include "pve/qemu.hpp"
#include "pve/sdn.hpp"
#include "sandbox/doctor.hpp"
#include "sandbox/doctor_rights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace px::sandbox {

namespace {

using State = Finding::State;
namespace firewall = pve::firewall;

/// What the provider does with networks, and the privilege it takes (pve-facts section 15).
const std::vector<Need> network_needs{
    {"/sdn", "SDN.Allocate", "lock and apply the SDN"},
    {"/sdn/zones", "SDN.Allocate", "make networks and book addresses"},
    {"/sdn/zones", "SDN.Audit", "see networks"},
    {"/sdn/zones", "SDN.Use", "put VMs on networks"},
    {"/vms", "VM.Config.Network", "give VMs network cards and firewall rules"},
};
const std::vector<Need> closing_needs{
    {"/", "Sys.Audit", "see whether the firewall is on"},
    {"/", "Sys.Modify", "make security groups"},
};

awaitable<bool> look_at_sdn(pve::Client& client, std::vector<Finding>& out) {
  try {
    co_await pve::sdn::zones(client);
  } catch (const Error& error) {
    if (error.kind != Errc::unsupported && error.kind != Errc::not_found) throw;
    out.push_back({State::bad, "networks (SDN)", "this server has no SDN",
                   "On each node: apt install libpve-network-perl; or set sdn_config=None in every "
                   "configuration."});
    co_return false;
  }
  out.push_back({State::fine, "networks (SDN)", "the server has SDN", ""});
  co_return true;
}

awaitable<void> look_at_addresses(pve::Client& client, const pve::NodeName& node,
                                  std::vector<Finding>& out) {
  const bool ipam = co_await pve::sdn::has_ipam(client);
  out.push_back({ipam ? State::fine : State::warning, "addresses (IPAM)",
                 ipam ? "pve" : "the server's own IPAM, pve, can't be seen",
                 ipam ? "" : "Give the user or token SDN.Audit on /sdn/ipams to be sure of it."});
  const auto installed = co_await pve::nodes::is_installed(client, node, "dnsmasq");
  if (!installed) {
    out.push_back({State::warning, "DHCP (dnsmasq)",
                   fmt::format("node {} does not tell its packages", node),
                   "To be sure, give the user or token Sys.Audit on the node. Where dnsmasq is "
                   "missing, making networks fails and says so."});
  } else {
    out.push_back({*installed ? State::fine : State::bad, "DHCP (dnsmasq)",
                   fmt::format("{}installed on node {}", *installed ? "" : "not ", node),
                   *installed ? ""
                              : "On each node: apt install dnsmasq && systemctl disable --now "
                                "dnsmasq (the SDN needs the program, not its default service)."});
  }
}

bool has_guarded_card(const pve::qemu::VmConfigMap& config) {
  return std::ranges::any_of(config.values, [](const auto& option) {
    return pve::qemu::is_card(option.first) &&
           (option.second + ",").find(",firewall=1,") != std::string::npos;
  });
}

/// The VMs of a node that obey the firewall as soon as it is on.
awaitable<std::vector<std::string>> find_armed(pve::Client& client, const pve::NodeName& node) {
  std::vector<std::string> out;
  for (const auto& vm : co_await pve::qemu::list(client, node)) {
    const pve::VmRef ref{node, vm.vmid};
    try {
      if (!has_guarded_card(co_await pve::qemu::config(client, ref))) continue;
      if (!co_await firewall::is_enabled_for(client, ref)) continue;
    } catch (const Error& error) {
      if (error.kind != Errc::not_found) throw;  // gone since
      continue;
    }
    out.push_back(fmt::format("VM {} ({})", vm.vmid, vm.name));
  }
  co_return out;
}

awaitable<FirewallReach> find_reach(pve::Client& client) {
  FirewallReach out;
  std::vector<pve::NodeName> online;
  for (const auto& node : co_await pve::nodes::list(client)) {
    (node.online ? online : out.offline).push_back(node.name);
  }
  out.dormant = co_await firewall::dormant(client, online);
  for (const auto& node : online) {
    auto armed = co_await find_armed(client, node);
    if (!armed.empty()) out.armed[node] = std::move(armed);
  }
  co_return out;
}

awaitable<Repair> repair_firewall(pve::Client& client) {
  const auto reach = co_await find_reach(client);
  co_return Repair{"PUT /cluster/firewall/options enable=1 policy_in=ACCEPT",
                   consequences_of(reach),
                   [](pve::Client& server) { return firewall::enable(server); }};
}

awaitable<void> look_at_firewall(pve::Client& client, std::vector<Finding>& out) {
  constexpr std::string_view what = "firewall";
  std::optional<Error> failure;
  bool on = false;
  try {
    on = co_await firewall::is_enabled(client);
  } catch (const Error& error) {
    if (error.kind != Errc::forbidden && error.kind != Errc::unsupported) throw;
    failure = error;
  }
  if (failure) {
    out.push_back({State::warning, std::string{what},
                   failure->kind == Errc::forbidden ? "can't be looked at"
                                                    : "this server has none in its API",
                   failure->kind == Errc::forbidden ? "Needs Sys.Audit on /." : ""});
    co_return;
  }
  if (on) {
    out.push_back({State::fine, std::string{what}, "on", ""});
    co_return;
  }
  Finding finding{
      State::bad, std::string{what},
      "off for the datacenter, so samples' networks are not closed: a guest reaches "
      "the server's API and SSH, and other networks",
      "proxmox-sandbox doctor --fix says what switching it on means and asks first; or: "
      "pvesh set /cluster/firewall/options --enable 1 --policy_in ACCEPT"};
  try {
    finding.repair = co_await repair_firewall(client);
  } catch (const Error& error) {
    // Without knowing whom it meets nobody can consent.
    finding.fix = fmt::format(
        "Whom switching it on would meet can't be told ({}). Look at the firewalls of the nodes "
        "and VMs, then: pvesh set /cluster/firewall/options --enable 1 --policy_in ACCEPT",
        error.said);
  }
  out.push_back(std::move(finding));
}

}  // namespace

/// Source of what switching on does: pve-practice section 6.
std::vector<std::string> consequences_of(const FirewallReach& reach) {
  std::vector<std::string> out{
      "The firewall of the whole datacenter is switched on, for all nodes of the cluster.",
      "policy_in=ACCEPT keeps every node open as it is now: its API, SSH and other services stay "
      "reachable. (The default, DROP, would shut out everybody who does not come from the node's "
      "own network.)"};
  const auto& dormant = reach.dormant;
  if (!dormant.policy_in.empty() && dormant.policy_in != "ACCEPT") {
    out.push_back(
        fmt::format("policy_in is set to {} now; that setting is lost.", dormant.policy_in));
  }
  if (dormant.datacenter + dormant.nodes > 0) {
    out.push_back(fmt::format(
        "Rules that nobody obeys today come into force: {} of the datacenter, {} of its nodes. "
        "They may shut you out; read them first.",
        dormant.datacenter, dormant.nodes));
  }
  for (const auto& [node, vms] : reach.armed) {
    out.push_back(fmt::format("On node {} the firewall of these VMs comes into force: {}.", node,
                              fmt::join(vms, ", ")));
  }
  for (const auto& node : reach.offline) {
    out.push_back(
        fmt::format("Node {} is offline; its rules and VMs could not be looked at.", node));
  }
  out.emplace_back(
      "The same holds for containers, and for VMs and containers that you may not see, whose own "
      "firewall is on and that have a network card with firewall=1.");
  return out;
}

awaitable<std::vector<Finding>> examine_networks(pve::Client& client) {
  std::vector<Finding> out;
  const auto node = pve::NodeName::parse(client.instance().node);
  if (!co_await look_at_sdn(client, out)) co_return out;
  const auto held = co_await pve::access::permissions(client);
  out.push_back(look_at_rights(held, "permissions for networks", network_needs));
  co_await look_at_addresses(client, node, out);
  co_await look_at_firewall(client, out);
  out.push_back(look_at_rights(held, "permissions for closing networks", closing_needs));
  co_return out;
}

}  // namespace px::sandbox
