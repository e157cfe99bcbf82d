#include "network/sets.hpp"

#include "pve/firewall.hpp"
#include "pve/nodes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace px::network {

using namespace std::chrono_literals;
namespace sdn = pve::sdn;

namespace {

constexpr int all_numbers = 1000;  // of a zone's name

awaitable<void> add_subnets(pve::Client& client, const sdn::Vnet& vnet, std::vector<Taken>& out) {
  for (const auto& subnet : co_await sdn::subnets(client, vnet.id)) {
    out.push_back({Cidr::around("subnet", subnet.cidr),
                   fmt::format("VNet {} ({}) in zone {}", vnet.id, vnet.alias, vnet.zone),
                   run_of_alias(vnet.alias), vnet.zone});
  }
}

awaitable<void> add_host_ranges(pve::Client& client, const pve::NodeName& node,
                                std::vector<Taken>& out) {
  for (auto& range : co_await host_ranges(client, node)) {
    out.push_back({range.cidr, std::move(range.owner)});
  }
}

sdn::NewSubnet subnet_of(const NetworkSet& set, std::size_t vnet, const PlannedSubnet& plan) {
  sdn::NewSubnet out{set.vnets[vnet], set.zone, plan.cidr.text(), plan.gateway.to_string(),
                     plan.snat};
  out.more = plan.options;
  for (const auto& range : plan.dhcp_ranges) {
    out.dhcp_ranges.push_back({range.start.to_string(), range.end.to_string()});
  }
  return out;
}

awaitable<void> create_vnets(pve::Client& client, const NetworkSet& set, const std::string& run,
                             const sdn::Change& change) {
  for (std::size_t i = 0; i < set.vnets.size(); ++i) {
    const auto& plan = set.plan.vnets[i];
    co_await sdn::create_vnet(client, set.vnets[i], set.zone, mark_alias(plan.alias, run), change,
                              plan.options);
    for (const auto& subnet : plan.subnets) {
      co_await sdn::create_subnet(client, subnet_of(set, i, subnet), change);
    }
  }
}

/// The rules are the same for all cards in a VNet, so that a VM needs one line for each of its own.
awaitable<void> create_groups(pve::Client& client, const NetworkSet& set, const std::string& run,
                              const std::vector<Cidr>& foreign, Deadline limit) {
  for (std::size_t i = 0; i < set.vnets.size(); ++i) {
    const auto& plan = set.plan.vnets[i];
    co_await pve::firewall::create_group(
        client, {set.vnets[i].text(), mark_alias(plan.alias, run)},
        rules_of(wire_of(set.plan, plan), set.plan.isolation, foreign), limit);
  }
}

/// Only those that carry a mark: a name alone makes no group ours.
awaitable<void> remove_groups(pve::Client& client, const Remains& set,
                              const std::vector<pve::firewall::Group>& there, Deadline limit) {
  for (const auto& group : there) {
    const bool named =
        std::ranges::find(set.vnets, group.name, &pve::VnetId::text) != set.vnets.end();
    if (named && run_of_alias(group.comment)) {
      co_await pve::firewall::remove_group(client, group.name, limit);
    }
  }
}

awaitable<void> remove_vnet(pve::Client& client, const pve::VnetId& vnet,
                            const std::vector<sdn::Booking>& bookings, const sdn::Change& change) {
  for (const auto& booking : bookings) {
    // A gateway's goes with its subnet.
    if (booking.vnet == vnet && !booking.is_gateway) {
      co_await sdn::remove_booking(client, booking, change.deadline);
    }
  }
  for (const auto& subnet : co_await sdn::subnets(client, vnet)) {
    if (subnet.state != sdn::State::deleted) {
      co_await sdn::remove_subnet(client, subnet, change);
    }
  }
  co_await sdn::remove_vnet(client, vnet, change);
}

/// Why a zone's networks are not there yet; empty when they are.
awaitable<std::string> missing_in(pve::Client& client, const pve::NodeName& node,
                                  const NetworkSet& set) {
  const auto states = co_await sdn::status(client, node, set.zone);
  for (const auto& vnet : set.vnets) {
    const auto found = std::ranges::find(states, vnet, &sdn::VnetStatus::vnet);
    if (found == states.end()) co_return fmt::format("VNet {} is not on node {}", vnet, node);
    if (found->status != "available") {
      co_return fmt::format("VNet {} on node {} is {} {}", vnet, node, found->status,
                            found->message);
    }
  }
  co_return "";
}

}  // namespace

Remains remains_of(const NetworkSet& set) {
  return {set.zone, set.vnets};
}

awaitable<std::vector<HostRange>> host_ranges(pve::Client& client, pve::NodeName node) {
  std::vector<HostRange> out;
  for (const auto& interface : co_await pve::nodes::interfaces(client, node)) {
    for (const auto& cidr : interface.cidrs) {
      out.push_back({fmt::format("{} of node {}", interface.name, node),
                     Cidr::around(interface.name, cidr), interface.name});
    }
  }
  co_return out;
}

awaitable<Survey> survey(pve::Client& client, std::vector<pve::NodeName> nodes) {
  Survey out;
  try {
    out.zones = co_await sdn::zones(client);
    out.vnets = co_await sdn::vnets(client);
  } catch (const Error& error) {
    if (error.kind != Errc::unsupported && error.kind != Errc::not_found) throw;
    throw Error{Errc::unsupported, "this server has no SDN, so it can't make networks"}.with_hint(
        "Install libpve-network-perl on each node (part of Proxmox VE since 8.1), or set "
        "sdn_config=None");
  }
  std::vector<awaitable<void>> work;
  for (const auto& vnet : out.vnets) {
    if (vnet.state != sdn::State::deleted) work.push_back(add_subnets(client, vnet, out.taken));
  }
  for (const auto& node : nodes) work.push_back(add_host_ranges(client, node, out.taken));
  co_await all(std::move(work));
  for (auto& group : co_await pve::firewall::groups(client)) {
    out.groups.push_back(std::move(group.name));
  }
  co_return out;
}

// --- decisions -----------------------------------------------------------------------------------

std::string_view state_name(sdn::State state) {
  switch (state) {
    case sdn::State::created:
      return "new";
    case sdn::State::changed:
      return "changed";
    case sdn::State::deleted:
      return "deleted";
    case sdn::State::applied:
      break;
  }
  return "";
}

void note_pending(std::vector<std::string>& out, const std::string& what, sdn::State state) {
  if (state == sdn::State::applied) return;
  out.push_back(fmt::format("{} ({})", what, state_name(state)));
}

std::vector<std::string> pending_changes(const Survey& survey) {
  std::vector<std::string> out;
  for (const auto& zone : survey.zones) {
    note_pending(out, fmt::format("zone {}", zone.id), zone.state);
  }
  for (const auto& vnet : survey.vnets) {
    note_pending(out, fmt::format("VNet {}", vnet.id), vnet.state);
  }
  return out;
}

std::vector<Taken> taken_without(const Survey& survey, const std::vector<Remains>& sets) {
  std::vector<Taken> out;
  std::ranges::copy_if(survey.taken, std::back_inserter(out), [&](const Taken& taken) {
    return std::ranges::none_of(
        sets, [&](const Remains& set) { return taken.zone == std::optional{set.zone}; });
  });
  return out;
}

std::vector<std::string> free_prefixes(const Survey& survey, std::string_view stem, int start) {
  std::set<std::string> names;
  for (const auto& zone : survey.zones) names.insert(zone.id.text());
  for (const auto& vnet : survey.vnets) names.insert(vnet.id.text());
  names.insert(survey.groups.begin(), survey.groups.end());
  std::vector<std::string> out;
  for (int i = 0; i < all_numbers; ++i) {
    auto prefix = prefix_of(stem, (start + i) % all_numbers);
    bool free = !names.contains(zone_name(prefix));
    for (std::size_t vnet = 0; vnet < 10; ++vnet) {
      free = free && !names.contains(vnet_name(prefix, vnet));
    }
    if (free) out.push_back(std::move(prefix));
  }
  return out;
}

std::optional<Conflict> conflict_of(const Plan& plan, const std::vector<Taken>& taken) {
  for (std::size_t i = 0; i < plan.vnets.size(); ++i) {
    for (std::size_t j = 0; j < plan.vnets[i].subnets.size(); ++j) {
      const auto& cidr = plan.vnets[i].subnets[j].cidr;
      for (const auto& other : taken) {
        if (!cidr.overlaps(other.cidr)) continue;
        return Conflict{other, fmt::format("sdn_config.vnet_configs[{}].subnets[{}].cidr", i, j),
                        cidr};
      }
    }
  }
  return std::nullopt;
}

std::vector<Remains> ours_of(const std::vector<sdn::Zone>& zones,
                             const std::vector<sdn::Vnet>& vnets) {
  std::vector<Remains> out;
  for (const auto& zone : zones) {
    if (zone.type != "simple") continue;
    const auto prefix = prefix_of_zone(zone.id.text());
    if (prefix.empty()) continue;
    Remains found{zone.id, {}};
    std::set<std::string> runs;
    bool named = true;
    for (const auto& vnet : vnets) {
      if (vnet.zone != zone.id) continue;
      const auto& name = vnet.id.text();
      named = named && name.size() == prefix.size() + 2 && name.starts_with(prefix + "v") &&
              name.back() >= '0' && name.back() <= '9';
      found.vnets.push_back(vnet.id);
      runs.insert(run_of_alias(vnet.alias).value_or(""));
    }
    // A VNet of somebody else in a zone of ours: not ours to remove.
    if (!named || runs.size() > 1) continue;
    if (!runs.empty()) found.run = *runs.begin();
    out.push_back(std::move(found));
  }
  return out;
}

// --- changes -------------------------------------------------------------------------------------

awaitable<void> create(pve::Client& client, NetworkSet set, std::string run,
                       std::vector<Cidr> foreign, sdn::Change change) {
  co_await sdn::create_zone(client, set.zone, set.plan.dhcp, change, set.plan.zone_options);
  std::optional<Error> taken;
  try {
    co_await create_vnets(client, set, run, change);
    if (set.plan.isolation.closed) {
      co_await create_groups(client, set, run, foreign, change.deadline);
    }
  } catch (const Error& error) {
    if (error.kind != Errc::already_exists) throw;
    taken = error;
  }
  if (!taken) co_return;
  co_await remove(client, {remains_of(set)}, change);
  throw *taken;
}

awaitable<void> remove(pve::Client& client, std::vector<Remains> sets, sdn::Change change) {
  if (sets.empty()) co_return;
  const auto bookings = co_await sdn::bookings(client);
  const auto there = co_await sdn::vnets(client);
  const auto groups = co_await pve::firewall::groups(client);
  for (const auto& set : sets) {
    // First, for a group without its VNet would never be found again.
    co_await remove_groups(client, set, groups, change.deadline);
    for (const auto& vnet : there) {
      // A name of ours in another zone is someone else's VNet.
      const bool ours = vnet.zone == set.zone && vnet.state != sdn::State::deleted &&
                        std::ranges::find(set.vnets, vnet.id) != set.vnets.end();
      if (ours) co_await remove_vnet(client, vnet.id, bookings, change);
    }
    co_await sdn::remove_zone(client, set.zone, change);
  }
}

namespace {

awaitable<void> remove_under(pve::Client& client, std::vector<Remains> sets, sdn::Lock& lock) {
  lock = co_await sdn::lock(client);
  const auto limit = Deadline::after(change_limit);
  co_await remove(client, std::move(sets), {lock.token(), limit});
  co_await sdn::apply(client, lock, limit);
}

}  // namespace

awaitable<void> remove_and_apply(pve::Client& client, std::vector<Remains> sets) {
  if (sets.empty()) co_return;
  sdn::Lock lock;
  co_await with_cleanup(remove_under(client, std::move(sets), lock), sdn::unlock(client, lock));
}

namespace {

awaitable<void> wait_for_networks(pve::Client& client, const pve::NodeName& node,
                                  const NetworkSet& set, Deadline limit) {
  for (auto pause = 100ms;; pause = std::min(pause * 2, 1000ms)) {
    const auto missing = co_await missing_in(client, node, set);
    if (missing.empty()) co_return;
    if (limit.passed(std::chrono::steady_clock::now())) {
      throw Error{Errc::unavailable, "the networks were applied, but " + missing};
    }
    co_await sleep_for(pause);
  }
}

}  // namespace

awaitable<void> apply_and_check(pve::Client& client, std::vector<pve::NodeName> nodes,
                                std::vector<NetworkSet> sets, sdn::Lock& lock, Deadline limit) {
  co_await sdn::apply(client, lock, limit);
  const auto soon = limit.sooner(Deadline::after(20s));
  for (const auto& node : nodes) {
    for (const auto& set : sets) co_await wait_for_networks(client, node, set, soon);
  }
}

}  // namespace px::network
