#include "sandbox/networks.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::sandbox {

using namespace std::chrono_literals;
using network::Whose;
using network::ZoneEntry;

namespace {

constexpr auto removal_limit = 5min;

bool is_life(const ZoneEntry& zone, const LifeOf& life_of, Life life) {
  return zone.whose == Whose::run && life_of(zone.run).life == life;
}

void add_pending(const network::Inventory& inventory, const LifeOf& life_of,
                 std::vector<NetworkProblem>& out) {
  for (const auto& zone : inventory.zones) {
    const auto changes = network::pending_of(zone);
    // A run that lives, or may live, is about to apply its own; other leftovers are told as such.
    const bool under_way = zone.whose == Whose::run && !is_life(zone, life_of, Life::dead);
    if (changes.empty() || under_way || zone.removable()) continue;
    out.push_back(
        {fmt::format("zone {}", zone.zone.id),
         fmt::format("changes that are not applied: {}", fmt::join(changes, ", ")),
         "Apply them (Datacenter > SDN > Apply; pvesh set /cluster/sdn) or drop all pending "
         "changes (pvesh create /cluster/sdn/rollback); else the next evaluation's networks apply "
         "them."});
  }
}

void add_troubles(const network::Inventory& inventory, std::vector<NetworkProblem>& out) {
  for (const auto& zone : inventory.zones) {
    for (const auto& entry : zone.vnets) {
      for (const auto& trouble : entry.troubles) {
        out.push_back({fmt::format("VNet {}", entry.vnet.id), trouble,
                       "Reload that node's network (node > System > Network > Apply Configuration; "
                       "ifreload -a), and look at its task log for the reason."});
      }
    }
  }
}

void add_leftovers(const network::Inventory& inventory, const LifeOf& life_of,
                   std::vector<NetworkProblem>& out) {
  for (const auto& zone : inventory.zones) {
    if (!zone.removable()) continue;
    const auto use = network::use_of(inventory, zone);
    if (is_life(zone, life_of, Life::dead)) {
      out.push_back({fmt::format("zone {}", zone.zone.id),
                     fmt::format("its run {} is dead{}", zone.run, use ? "; in use: " + *use : ""),
                     use ? fmt::format("inspect sandbox cleanup proxmox {}", zone.run)
                         : fmt::format("proxmox-sandbox net rm --run {}", zone.run)});
    } else if (zone.whose == Whose::unmarked && !use) {
      out.push_back(
          {fmt::format("zone {}", zone.zone.id),
           "named as ours are, without a run's mark, and no VM uses it",
           fmt::format("When nobody is just making it: proxmox-sandbox net rm {}", zone.zone.id)});
    }
  }
}

void add_overlaps(const network::Inventory& inventory, std::vector<NetworkProblem>& out) {
  for (const auto& overlap : network::overlaps_of(inventory)) {
    out.push_back(
        {"overlap", fmt::format("{} and {}", overlap.first, overlap.second),
         "Only one of two gateways with one range works. Give one of the networks another "
         "range."});
  }
}

void add_orphans(const network::Inventory& inventory, std::vector<NetworkProblem>& out) {
  for (const auto& booking : inventory.orphans) {
    out.push_back(
        {fmt::format("address {}", booking.ip),
         fmt::format("booked on VNet {} for VM {}, which does not exist", booking.vnet,
                     *booking.vmid),
         fmt::format("pvesh delete /cluster/sdn/vnets/{}/ips --zone {} --ip {}{}{}", booking.vnet,
                     booking.zone, booking.ip, booking.mac.empty() ? "" : " --mac ", booking.mac)});
  }
}

void add_missing(const network::Inventory& inventory, std::vector<NetworkProblem>& out) {
  for (const auto& node : inventory.without_dnsmasq) {
    out.push_back({fmt::format("node {}", node),
                   "dnsmasq is not installed, so its zones with DHCP give out no addresses",
                   "On the node: apt install dnsmasq && systemctl disable --now dnsmasq"});
  }
}

void add_lost_groups(const network::Inventory& inventory, const LifeOf& life_of,
                     std::vector<NetworkProblem>& out) {
  for (const auto& group : inventory.lost_groups) {
    if (life_of(group.run).life == Life::alive) continue;  // it may be about to make the VNet
    out.push_back({fmt::format("group {}", group.name),
                   fmt::format("a security group of run {} whose VNet is gone", group.run),
                   fmt::format("proxmox-sandbox net rm {}", group.name)});
  }
}

/// Why a zone that was selected must stay; empty when it may go.
std::string obstacle_to(const network::Inventory& inventory, const ZoneEntry& zone,
                        bool run_is_named, const LifeOf& life_of) {
  if (zone.whose == Whose::foreign) return "it is not ours";
  if (zone.whose == Whose::permanent) return "it is the permanent one of the existing provider";
  if (const auto use = network::use_of(inventory, zone)) return fmt::format("in use: {}", *use);
  if (!run_is_named && is_life(zone, life_of, Life::alive)) {
    return fmt::format("its run {} lives; to remove what it has and does not use now: --run {}",
                       zone.run, zone.run);
  }
  return "";
}

std::string reason_for(const ZoneEntry& zone, const LifeOf& life_of) {
  if (zone.whose == Whose::unmarked) return "no mark, no VM uses it";
  switch (life_of(zone.run).life) {
    case Life::alive:
      return fmt::format("run {} lives; no VM uses it", zone.run);
    case Life::dead:
      return fmt::format("run {} is dead; no VM uses it", zone.run);
    case Life::kept:
      return fmt::format("run {} has ended and was kept; no VM uses it", zone.run);
    case Life::unknown:
      break;
  }
  return fmt::format("run {}, of which nobody knows whether it lives; no VM uses it", zone.run);
}

bool has_name(const ZoneEntry& zone, const std::string& name) {
  return zone.zone.id.text() == name || std::ranges::any_of(zone.vnets, [&](const auto& entry) {
           return entry.vnet.id.text() == name;
         });
}

bool is_selected(const ZoneEntry& zone, const NetworkSelection& selection, const LifeOf& life_of) {
  if (selection.dead) return is_life(zone, life_of, Life::dead);
  if (!selection.run.empty()) return zone.whose == Whose::run && zone.run == selection.run;
  return std::ranges::any_of(selection.names,
                             [&](const auto& name) { return has_name(zone, name); });
}

bool is_known(const network::Inventory& inventory, const std::string& name) {
  const auto named = [&](const auto& zone) { return has_name(zone, name); };
  const auto group = std::ranges::find(inventory.lost_groups, name, &network::LostGroup::name);
  return std::ranges::any_of(inventory.zones, named) || group != inventory.lost_groups.end();
}

bool is_selected(const network::LostGroup& group, const NetworkSelection& selection,
                 const LifeOf& life_of) {
  const auto life = life_of(group.run).life;
  if (selection.dead) return life == Life::dead;
  if (!selection.run.empty()) return group.run == selection.run;
  return life != Life::alive &&
         std::ranges::find(selection.names, group.name) != selection.names.end();
}

/// What was wrong; empty when they are gone.
awaitable<std::string> try_to_remove(pve::Client& client, std::vector<network::Remains> sets) {
  try {
    co_await network::remove_and_apply(client, std::move(sets));
  } catch (const Error& error) {
    co_return error.what();
  }
  co_return "";
}

awaitable<std::string> try_to_remove(pve::Client& client, network::LostGroup group) {
  try {
    co_await pve::firewall::remove_group(client, group.name, Deadline::after(removal_limit));
  } catch (const Error& error) {
    co_return error.what();
  }
  co_return "";
}

}  // namespace

std::vector<NetworkProblem> problems_of(const network::Inventory& inventory,
                                        const LifeOf& life_of) {
  std::vector<NetworkProblem> out;
  if (!inventory.has_sdn) {
    out.push_back({"SDN", "this server has none, so it can't make networks",
                   "On each node: apt install libpve-network-perl"});
    return out;
  }
  add_pending(inventory, life_of, out);
  add_troubles(inventory, out);
  add_leftovers(inventory, life_of, out);
  add_overlaps(inventory, out);
  add_orphans(inventory, out);
  add_missing(inventory, out);
  add_lost_groups(inventory, life_of, out);
  return out;
}

Choice choose_networks(const network::Inventory& inventory, const NetworkSelection& selection,
                       const LifeOf& life_of) {
  Choice out;
  for (const auto& zone : inventory.zones) {
    if (zone.zone.state == pve::sdn::State::deleted) continue;
    if (!is_selected(zone, selection, life_of)) continue;
    const auto obstacle = obstacle_to(inventory, zone, !selection.run.empty(), life_of);
    if (obstacle.empty()) {
      out.remove.push_back({zone.remains(), reason_for(zone, life_of)});
    } else {
      out.keep.push_back({zone.remains(), obstacle});
    }
  }
  for (const auto& group : inventory.lost_groups) {
    if (!is_selected(group, selection, life_of)) continue;
    out.groups.push_back({group, fmt::format("its VNet is gone; of run {}", group.run)});
  }
  for (const auto& name : selection.names) {
    if (!is_known(inventory, name)) out.unknown.push_back(name);
  }
  return out;
}

awaitable<std::vector<std::string>> remove_chosen(pve::Client& client, const Choice& choice) {
  std::vector<network::Remains> sets;
  for (const auto& candidate : choice.remove) sets.push_back(candidate.networks);
  std::vector<std::string> left;
  const auto together = co_await try_to_remove(client, sets);
  if (!together.empty()) {
    for (const auto& set : sets) {
      const auto failure = sets.size() == 1 ? together : co_await try_to_remove(client, {set});
      if (!failure.empty()) left.push_back(fmt::format("zone {}: {}", set.zone, failure));
    }
  }
  for (const auto& candidate : choice.groups) {
    const auto failure = co_await try_to_remove(client, candidate.group);
    if (!failure.empty())
      left.push_back(fmt::format("group {}: {}", candidate.group.name, failure));
  }
  co_return left;
}

}  // namespace px::sandbox
