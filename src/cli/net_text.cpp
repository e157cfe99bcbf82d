#include "cli/net_text.hpp"

#include "cli/table.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace px::cli {

namespace {

namespace bj = boost::json;
using network::Inventory;
using network::VnetEntry;
using network::Whose;
using network::ZoneEntry;
using sandbox::Life;
using sandbox::LifeOf;
using sandbox::RunLife;

std::string_view name_of(Whose whose) {
  switch (whose) {
    case Whose::run:
      return "run";
    case Whose::unmarked:
      return "unmarked";
    case Whose::permanent:
      return "permanent";
    case Whose::foreign:
      break;
  }
  return "foreign";
}

RunLife life_in(const ZoneEntry& zone, const LifeOf& life_of) {
  return zone.whose == Whose::run ? life_of(zone.run) : RunLife{};
}

std::string whose_text(const ZoneEntry& zone, const RunLife& life) {
  if (zone.whose != Whose::run) return std::string{name_of(zone.whose)};
  const bool known = life.life != Life::unknown;
  return fmt::format("run {}{}{}", zone.run, known ? ", " : "", known ? name_of(life.life) : "");
}

/// Without the mark, which WHOSE shows.
std::string alias_of(const VnetEntry& entry) {
  const auto& alias = entry.vnet.alias;
  if (!network::run_of_alias(alias)) return alias;
  const auto mark = alias.rfind('[');
  return alias.substr(0, mark == 0 ? 0 : mark - 1);
}

std::string use_text(const Inventory& inventory, const ZoneEntry& zone, const VnetEntry& entry) {
  std::vector<std::string> vms;
  for (const auto& guest : entry.guests) {
    vms.push_back(guest.name.empty() ? fmt::format("VM {}", guest.vm.vmid)
                                     : fmt::format("VM {} ({})", guest.vm.vmid, guest.name));
  }
  if (!vms.empty()) return fmt::format("{}", fmt::join(vms, ", "));
  if (!zone.ours()) return "";
  return network::use_of(inventory, zone) ? "" : "free";
}

std::string state_text(std::initializer_list<pve::sdn::State> states,
                       const std::vector<std::string>& troubles) {
  std::string out;
  for (const auto state : states) {
    if (out.empty()) out = network::state_name(state);
  }
  if (!troubles.empty()) {
    out += fmt::format("{}{}", out.empty() ? "" : "; ", fmt::join(troubles, "; "));
  }
  return out.empty() ? "applied" : out;
}

void add_rows(Table& table, const Inventory& inventory, const ZoneEntry& zone,
              const LifeOf& life_of) {
  const auto life = life_in(zone, life_of);
  const auto whose = whose_text(zone, life);
  const auto age =
      life.age ? age_text(static_cast<std::size_t>(std::max<std::int64_t>(life.age->count(), 0)))
               : "";
  const auto& id = zone.zone.id.text();
  const auto zone_state = zone.zone.state;
  if (zone.vnets.empty()) {
    const bool free = zone.ours() && !network::use_of(inventory, zone);
    table.add({id, "", "", "", whose, age, free ? "free" : "", state_text({zone_state}, {})});
  }
  for (const auto& entry : zone.vnets) {
    const auto use = use_text(inventory, zone, entry);
    const auto add = [&](const std::string& cidr, pve::sdn::State state) {
      table.add({id, entry.vnet.id.text(), alias_of(entry), cidr, whose, age, use,
                 state_text({zone_state, entry.vnet.state, state}, entry.troubles)});
    };
    for (const auto& subnet : entry.subnets) add(subnet.cidr, subnet.state);
    if (entry.subnets.empty()) add("", pve::sdn::State::applied);
  }
}

bool is_orphan(const Inventory& inventory, const pve::sdn::Booking& booking) {
  return std::ranges::any_of(inventory.orphans, [&](const auto& other) {
    return other.vnet == booking.vnet && other.ip == booking.ip && other.mac == booking.mac;
  });
}

Table address_table(const Inventory& inventory) {
  Table out{{"ADDRESS", "VNET", "MAC", "VM"}};
  for (const auto& zone : inventory.zones) {
    for (const auto& entry : zone.vnets) {
      for (const auto& booking : entry.bookings) {
        if (booking.is_gateway) continue;
        const auto vm = booking.vmid ? booking.vmid->text() : "";
        out.add({booking.ip, entry.vnet.id.text(), booking.mac,
                 is_orphan(inventory, booking) ? vm + " (does not exist)" : vm});
      }
    }
  }
  return out;
}

// --- JSON ----------------------------------------------------------------------------------------

bj::object to_json(const Inventory& inventory, const VnetEntry& entry) {
  bj::array guests;
  for (const auto& guest : entry.guests) {
    guests.push_back(
        {{"vmid", guest.vm.vmid.number()}, {"node", guest.vm.node.text()}, {"name", guest.name}});
  }
  bj::array subnets;
  for (const auto& subnet : entry.subnets) {
    subnets.push_back({{"cidr", subnet.cidr},
                       {"gateway", text_or_null(subnet.gateway)},
                       {"pending", text_or_null(network::state_name(subnet.state))}});
  }
  bj::array addresses;
  for (const auto& booking : entry.bookings) {
    addresses.push_back(
        {{"ip", booking.ip},
         {"mac", text_or_null(booking.mac)},
         {"vmid", booking.vmid ? bj::value(booking.vmid->number()) : nullptr},
         {"vm_exists", booking.vmid ? bj::value(!is_orphan(inventory, booking)) : nullptr},
         {"gateway", booking.is_gateway}});
  }
  return {{"vnet", entry.vnet.id.text()},
          {"alias", alias_of(entry)},
          {"pending", text_or_null(network::state_name(entry.vnet.state))},
          {"troubles", bj::value_from(entry.troubles)},
          {"vms", std::move(guests)},
          {"subnets", std::move(subnets)},
          {"addresses", std::move(addresses)}};
}

}  // namespace

std::string network_tables(const Inventory& inventory, const LifeOf& life_of) {
  if (inventory.zones.empty()) return "";
  Table networks{{"ZONE", "VNET", "ALIAS", "SUBNET", "WHOSE", "AGE", "USED BY", "STATE"}};
  for (const auto& zone : inventory.zones) add_rows(networks, inventory, zone, life_of);
  const auto addresses = address_table(inventory);
  return networks.text() + (addresses.empty() ? "" : "\n" + addresses.text());
}

std::string network_lines(const std::string& server, const Inventory& inventory,
                          const LifeOf& life_of) {
  std::string out;
  for (const auto& zone : inventory.zones) {
    const auto life = life_in(zone, life_of);
    const auto use = network::use_of(inventory, zone);
    bj::array vnets;
    for (const auto& entry : zone.vnets) vnets.push_back(to_json(inventory, entry));
    const bool is_run = zone.whose == Whose::run;
    const bj::object line{{"server", server},
                          {"zone", zone.zone.id.text()},
                          {"type", zone.zone.type},
                          {"whose", name_of(zone.whose)},
                          {"run", text_or_null(zone.run)},
                          {"run_life", is_run ? bj::value(name_of(life.life)) : nullptr},
                          {"age_seconds", life.age ? bj::value(life.age->count()) : nullptr},
                          {"free", !use.has_value()},
                          {"used_by", use ? bj::value(*use) : nullptr},
                          {"pending", text_or_null(network::state_name(zone.zone.state))},
                          {"vnets", std::move(vnets)}};
    out += bj::serialize(line) + "\n";
  }
  return out;
}

std::string problem_text(const std::vector<sandbox::NetworkProblem>& problems) {
  std::string out;
  for (const auto& problem : problems) {
    out += fmt::format("{:16} {}\n{:16} -> {}\n", problem.what, problem.said, "", problem.fix);
  }
  return out;
}

std::string problem_lines(const std::string& server,
                          const std::vector<sandbox::NetworkProblem>& problems) {
  std::string out;
  for (const auto& problem : problems) {
    const bj::object line{
        {"server", server}, {"what", problem.what}, {"said", problem.said}, {"fix", problem.fix}};
    out += bj::serialize(line) + "\n";
  }
  return out;
}

std::string choice_table(const sandbox::Choice& choice) {
  Table table{{"ACTION", "ZONE", "VNETS", "WHY"}};
  const auto add = [&](const std::string& verb, const sandbox::Candidate& candidate) {
    table.add({verb, candidate.networks.zone.text(),
               fmt::format("{}", fmt::join(candidate.networks.vnets, " ")), candidate.why});
  };
  for (const auto& candidate : choice.remove) add("remove", candidate);
  for (const auto& candidate : choice.groups) {
    table.add({"remove", "group " + candidate.group.name, "", candidate.why});
  }
  for (const auto& candidate : choice.keep) add("keep", candidate);
  return table.empty() ? "" : table.text();
}

}  // namespace px::cli
