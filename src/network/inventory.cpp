#include "network/inventory.hpp"

#include "network/permanent.hpp"
#include "pve/access.hpp"
#include "pve/cluster.hpp"
#include "pve/nodes.hpp"
#include "pve/qemu.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace px::network {

namespace sdn = pve::sdn;

namespace {

/// VNet -> the VMs with a card in it.
using Users = std::map<std::string, std::vector<Guest>>;

awaitable<void> add_subnets(pve::Client& client, VnetEntry& entry) {
  entry.subnets = co_await sdn::subnets(client, entry.vnet.id);
}

awaitable<void> add_cards(pve::Client& client, Guest guest, Users& out) {
  try {
    const auto config = co_await pve::qemu::config(client, guest.vm);
    for (const auto& bridge : bridges_of(config.values)) out[bridge].push_back(guest);
  } catch (const Error& error) {
    // Gone since it was listed.
    if (error.kind != Errc::not_found) throw;
  }
}

awaitable<Users> find_users(pve::Client& client, const std::vector<pve::NodeName>& nodes) {
  Users out;
  for (const auto& node : nodes) {
    std::vector<awaitable<void>> work;
    for (const auto& vm : co_await pve::qemu::list(client, node)) {
      work.push_back(add_cards(client, {{node, vm.vmid}, vm.name}, out));
    }
    co_await all(std::move(work));
  }
  co_return out;
}

/// What keeps the caller from seeing all VMs.
awaitable<std::vector<std::string>> find_unseen(pve::Client& client,
                                                const std::vector<pve::nodes::NodeSummary>& nodes) {
  std::vector<std::string> out;
  for (const auto& node : nodes) {
    if (!node.online) out.push_back(fmt::format("node {} is offline", node.name));
  }
  const auto held = co_await pve::access::permissions(client);
  if (!pve::access::holds(held, "/vms", "VM.Audit")) {
    out.emplace_back("VM.Audit on /vms is missing");
  }
  co_return out;
}

awaitable<void> add_troubles(pve::Client& client, const pve::NodeName& node,
                             std::vector<VnetEntry>& vnets) {
  for (const auto& zone : co_await sdn::zone_states(client, node)) {
    if (zone.status == "available") continue;
    for (const auto& state : co_await sdn::status(client, node, zone.zone)) {
      const auto found = std::ranges::find_if(
          vnets, [&](const auto& entry) { return entry.vnet.id == state.vnet; });
      if (found == vnets.end() || state.status == "available") continue;
      found->troubles.push_back(fmt::format("node {}: {}{}{}", node, state.status,
                                            state.message.empty() ? "" : ": ", state.message));
    }
  }
}

awaitable<void> add_ranges_of_host(pve::Client& client, const pve::NodeName& node,
                                   const std::vector<VnetEntry>& vnets,
                                   std::vector<HostRange>& out) {
  for (auto& range : co_await host_ranges(client, node)) {
    const bool vnet = std::ranges::any_of(
        vnets, [&](const auto& entry) { return entry.vnet.id.text() == range.interface; });
    if (!vnet) out.push_back(std::move(range));
  }
}

/// A booking's VMID may be a container's, or of a VM that the caller may not see.
awaitable<void> find_orphans(pve::Client& client, const std::vector<sdn::Booking>& bookings,
                             const Users& users, std::vector<sdn::Booking>& out) {
  std::map<pve::Vmid, bool> gone;
  for (const auto& [vnet, guests] : users) {
    for (const auto& guest : guests) gone.emplace(guest.vm.vmid, false);
  }
  for (const auto& booking : bookings) {
    if (!booking.vmid) continue;
    if (!gone.contains(*booking.vmid)) {
      gone.emplace(*booking.vmid, co_await pve::cluster::is_free(client, *booking.vmid));
    }
    if (gone.at(*booking.vmid)) out.push_back(booking);
  }
}

awaitable<std::vector<VnetEntry>> list_vnets(pve::Client& client) {
  std::vector<VnetEntry> out;
  for (auto& vnet : co_await sdn::vnets(client)) out.push_back({std::move(vnet), {}, {}, {}});
  std::vector<awaitable<void>> work;
  for (auto& entry : out) work.push_back(add_subnets(client, entry));
  co_await all(std::move(work));
  co_return out;
}

/// None where the server has no firewall in its API.
awaitable<std::vector<pve::firewall::Group>> list_groups(pve::Client& client) {
  std::vector<pve::firewall::Group> out;
  try {
    out = co_await pve::firewall::groups(client);
  } catch (const Error& error) {
    if (error.kind != Errc::unsupported) throw;
  }
  co_return out;
}

awaitable<void> fill(pve::Client& client, const std::vector<sdn::Zone>& zones, Inventory& out) {
  // Before the VNets: a group comes after its VNet, and goes before it.
  const auto groups = co_await list_groups(client);
  auto vnets = co_await list_vnets(client);

  const auto nodes = co_await pve::nodes::list(client);
  std::vector<pve::NodeName> online;
  for (const auto& node : nodes) {
    if (node.online) online.push_back(node.name);
  }
  out.unseen = co_await find_unseen(client, nodes);
  const bool dhcp = std::ranges::any_of(zones, [](const auto& zone) { return !zone.dhcp.empty(); });
  for (const auto& node : online) {
    co_await add_troubles(client, node, vnets);
    co_await add_ranges_of_host(client, node, vnets, out.host_ranges);
    if (!dhcp) continue;
    const auto installed = co_await pve::nodes::is_installed(client, node, "dnsmasq");
    if (installed == std::optional{false}) out.without_dnsmasq.push_back(node);
  }

  auto users = co_await find_users(client, online);
  const auto bookings = co_await sdn::bookings(client);
  co_await find_orphans(client, bookings, users, out.orphans);
  for (auto& entry : vnets) {
    entry.guests = std::move(users[entry.vnet.id.text()]);
    std::ranges::sort(entry.guests, {}, &Guest::vm);
    std::ranges::copy_if(bookings, std::back_inserter(entry.bookings),
                         [&](const auto& booking) { return booking.vnet == entry.vnet.id; });
  }
  out.lost_groups = lost_groups_of(groups, vnets);
  out.zones = sort_out(zones, vnets);
}

/// A range with an address of the host inside.
struct Served {
  Cidr cidr;
  std::string text;
  bool of_host;
};

}  // namespace

awaitable<Inventory> take_inventory(pve::Client& client) {
  Inventory out;
  std::vector<sdn::Zone> zones;
  try {
    zones = co_await sdn::zones(client);
  } catch (const Error& error) {
    if (error.kind != Errc::unsupported && error.kind != Errc::not_found) throw;
    out.has_sdn = false;
  }
  if (out.has_sdn) co_await fill(client, zones, out);
  co_return out;
}

// --- decisions -----------------------------------------------------------------------------------

Remains ZoneEntry::remains() const {
  Remains out{zone.id, {}, run};
  for (const auto& entry : vnets) out.vnets.push_back(entry.vnet.id);
  return out;
}

std::string users_of(const ZoneEntry& zone) {
  std::map<pve::VmRef, std::string> users;  // each once, whatever its number of cards
  for (const auto& entry : zone.vnets) {
    for (const auto& guest : entry.guests) users.emplace(guest.vm, guest.name);
  }
  std::string out;
  for (const auto& [vm, name] : users) {
    out += fmt::format("{}VM {}", out.empty() ? "" : ", ", vm.vmid);
    if (!name.empty()) out += fmt::format(" ({})", name);
  }
  return out;
}

std::optional<std::string> use_of(const Inventory& inventory, const ZoneEntry& zone) {
  if (auto users = users_of(zone); !users.empty()) return users;
  for (const auto& entry : zone.vnets) {
    for (const auto& booking : entry.bookings) {
      const bool orphan = std::ranges::any_of(
          inventory.orphans, [&](const auto& other) { return other.vmid == booking.vmid; });
      if (booking.vmid && !orphan)
        return fmt::format("{} is booked for {}", booking.ip, *booking.vmid);
    }
  }
  if (!inventory.unseen.empty()) {
    return fmt::format("perhaps: {}", fmt::join(inventory.unseen, ", "));
  }
  return std::nullopt;
}

std::vector<Overlap> overlaps_of(const Inventory& inventory) {
  std::vector<Served> all;
  for (const auto& zone : inventory.zones) {
    for (const auto& entry : zone.vnets) {
      for (const auto& subnet : entry.subnets) {
        if (subnet.gateway.empty() || subnet.state == sdn::State::deleted) continue;
        all.push_back(
            {Cidr::around("subnet", subnet.cidr),
             fmt::format("{} of VNet {} in zone {}", subnet.cidr, entry.vnet.id, zone.zone.id),
             false});
      }
    }
  }
  for (const auto& range : inventory.host_ranges) {
    all.push_back({range.cidr, fmt::format("{} of {}", range.cidr.text(), range.owner), true});
  }
  std::vector<Overlap> out;
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = i + 1; j < all.size(); ++j) {
      // Two nodes in one network are as they should be.
      if (all[i].of_host && all[j].of_host) continue;
      if (all[i].cidr.overlaps(all[j].cidr)) out.push_back({all[i].text, all[j].text});
    }
  }
  return out;
}

std::vector<std::string> pending_of(const ZoneEntry& zone) {
  std::vector<std::string> out;
  note_pending(out, fmt::format("zone {}", zone.zone.id), zone.zone.state);
  for (const auto& entry : zone.vnets) {
    note_pending(out, fmt::format("VNet {}", entry.vnet.id), entry.vnet.state);
    for (const auto& subnet : entry.subnets) {
      note_pending(out, fmt::format("subnet {} of VNet {}", subnet.cidr, entry.vnet.id),
                   subnet.state);
    }
  }
  return out;
}

std::vector<ZoneEntry> sort_out(const std::vector<sdn::Zone>& zones,
                                const std::vector<VnetEntry>& vnets) {
  std::vector<sdn::Vnet> all_vnets;
  for (const auto& entry : vnets) all_vnets.push_back(entry.vnet);
  const auto ours = ours_of(zones, all_vnets);

  std::vector<ZoneEntry> out;
  for (const auto& zone : zones) {
    ZoneEntry entry{zone};
    const auto found = std::ranges::find(ours, zone.id, &Remains::zone);
    if (found != ours.end()) {
      entry.whose = found->run.empty() ? Whose::unmarked : Whose::run;
      entry.run = found->run;
    } else if (zone.id.text() == permanent_zone) {
      entry.whose = Whose::permanent;
    }
    std::ranges::copy_if(vnets, std::back_inserter(entry.vnets),
                         [&](const auto& item) { return item.vnet.zone == zone.id; });
    std::ranges::sort(entry.vnets, {}, [](const auto& item) { return item.vnet.id; });
    out.push_back(std::move(entry));
  }
  std::ranges::sort(out, {}, [](const auto& item) { return item.zone.id; });
  return out;
}

std::vector<LostGroup> lost_groups_of(const std::vector<pve::firewall::Group>& groups,
                                      const std::vector<VnetEntry>& vnets) {
  std::vector<LostGroup> out;
  for (const auto& group : groups) {
    const auto run = run_of_alias(group.comment);
    const bool used = std::ranges::any_of(
        vnets, [&](const auto& entry) { return entry.vnet.id.text() == group.name; });
    if (run && !used) out.push_back({group.name, *run});
  }
  return out;
}

std::vector<std::string> bridges_of(const std::map<std::string, std::string>& options) {
  constexpr std::string_view key = "bridge=";
  std::set<std::string> out;
  for (const auto& [name, value] : options) {
    if (!pve::qemu::is_card(name)) continue;
    for (std::size_t at = 0; at < value.size();) {
      const auto end = std::min(value.find(',', at), value.size());
      const auto part = std::string_view{value}.substr(at, end - at);
      if (part.starts_with(key)) out.emplace(part.substr(key.size()));
      at = end + 1;
    }
  }
  return {out.begin(), out.end()};
}

}  // namespace px::network
