#include "network/plan.hpp"

#include "network/native_options.hpp"
#include "support/error.hpp"
#include "support/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace px::network {

namespace {

constexpr std::size_t most_vnets = 10;
constexpr int first_octet = 2;
constexpr int last_octet = 253;

// --- the configuration as it comes ---------------------------------------------------------------

struct RawRange {
  std::string start;
  std::string end;
};
template <class V>
void describe(V& visit, RawRange& range) {
  visit("start", range.start);
  visit("end", range.end);
}

struct RawSubnet {
  std::string cidr;
  std::string gateway;
  bool snat = false;
  std::vector<RawRange> dhcp_ranges;
  boost::json::object extra_proxmox_native_config;
};
template <class V>
void describe(V& visit, RawSubnet& subnet) {
  visit("cidr", subnet.cidr);
  visit("gateway", subnet.gateway);
  visit("snat", subnet.snat);
  visit("dhcp_ranges", subnet.dhcp_ranges);
  visit("extra_proxmox_native_config", subnet.extra_proxmox_native_config);
}

struct RawVnet {
  std::optional<std::string> alias;
  std::vector<RawSubnet> subnets;
  boost::json::object extra_proxmox_native_config;
};
template <class V>
void describe(V& visit, RawVnet& vnet) {
  visit("alias", vnet.alias);
  visit("subnets", vnet.subnets);
  visit("extra_proxmox_native_config", vnet.extra_proxmox_native_config);
}

struct RawSdn {
  std::vector<RawVnet> vnet_configs;
  bool use_pve_ipam_dnsnmasq = true;
  std::string isolation = "closed";
  boost::json::value egress = "all";
  boost::json::object extra_proxmox_native_config;
};
template <class V>
void describe(V& visit, RawSdn& sdn) {
  visit("vnet_configs", sdn.vnet_configs);
  visit("use_pve_ipam_dnsnmasq", sdn.use_pve_ipam_dnsnmasq);
  visit("isolation", sdn.isolation);
  visit("egress", sdn.egress);
  visit("extra_proxmox_native_config", sdn.extra_proxmox_native_config);
}

// --- its rules -----------------------------------------------------------------------------------

std::string text_of(const DhcpRange& range) {
  return fmt::format("{} - {}", range.start.to_string(), range.end.to_string());
}

bool holds(const DhcpRange& range, const Address& address) {
  return address.is_v4() == range.start.is_v4() && range.start <= address && address <= range.end;
}

DhcpRange plan_range(const std::string& field, const RawRange& raw, const PlannedSubnet& subnet) {
  const DhcpRange range{parse_address(field + ".start", raw.start),
                        parse_address(field + ".end", raw.end)};
  for (const auto& [name, address] : {std::pair{".start", range.start}, {".end", range.end}}) {
    if (!subnet.cidr.can_be_a_host(address)) {
      throw_bad_input(field + name, address.to_string(),
                      fmt::format("it is a host's address in {}", subnet.cidr.text()));
    }
  }
  if (range.end < range.start) throw_bad_input(field, text_of(range), "a range goes upwards");
  if (holds(range, subnet.gateway)) {
    throw_bad_input(field, text_of(range),
                    fmt::format("the gateway {} lies in it", subnet.gateway.to_string()));
  }
  for (const auto& other : subnet.dhcp_ranges) {
    if (holds(range, other.start) || holds(other, range.start)) {
      throw_bad_input(field, text_of(range),
                      fmt::format("it overlaps the range {}", text_of(other)));
    }
  }
  return range;
}

PlannedSubnet plan_subnet(const std::string& field, const RawSubnet& raw) {
  PlannedSubnet subnet{Cidr::parse(field + ".cidr", raw.cidr),
                       parse_address(field + ".gateway", raw.gateway), raw.snat};
  if (!subnet.cidr.can_be_a_host(subnet.gateway)) {
    throw_bad_input(field + ".gateway", raw.gateway,
                    fmt::format("it is a host's address in {}", subnet.cidr.text()));
  }
  for (std::size_t i = 0; i < raw.dhcp_ranges.size(); ++i) {
    subnet.dhcp_ranges.push_back(
        plan_range(fmt::format("{}.dhcp_ranges[{}]", field, i), raw.dhcp_ranges[i], subnet));
  }
  subnet.options = parse_native_options(NativeKind::subnet, field, raw.extra_proxmox_native_config);
  return subnet;
}

void check_overlap(const Plan& plan, const std::string& field, const Cidr& cidr) {
  for (const auto& vnet : plan.vnets) {
    for (const auto& other : vnet.subnets) {
      if (cidr.overlaps(other.cidr)) {
        throw_bad_input(field + ".cidr", cidr.text(),
                        fmt::format("it overlaps {}", other.cidr.text()));
      }
    }
  }
}

void check_dhcp(const Plan& plan) {
  const bool any = std::ranges::any_of(plan.vnets, [](const PlannedVnet& vnet) {
    return std::ranges::any_of(vnet.subnets,
                               [](const auto& subnet) { return !subnet.dhcp_ranges.empty(); });
  });
  if (plan.dhcp && !any) {
    throw_bad_input("sdn_config.use_pve_ipam_dnsnmasq", "true",
                    "it needs a DHCP range in a subnet; without one set it to False");
  }
  if (!plan.dhcp && any) {
    throw_bad_input("sdn_config.use_pve_ipam_dnsnmasq", "false",
                    "it forbids DHCP ranges; remove dhcp_ranges or set it to True");
  }
}

void check_egress(const Plan& plan) {
  const bool any_way_out = std::ranges::any_of(plan.vnets, [](const PlannedVnet& vnet) {
    return std::ranges::any_of(vnet.subnets, &PlannedSubnet::snat);
  });
  if (plan.isolation.destinations.empty() || any_way_out) return;
  throw_bad_input("sdn_config.egress",
                  fmt::format("{} networks", plan.isolation.destinations.size()),
                  "no subnet has snat=True, so nothing outside can be reached");
}

Plan plan_configured(const RawSdn& raw) {
  if (raw.vnet_configs.empty() || raw.vnet_configs.size() > most_vnets) {
    throw_bad_input("sdn_config.vnet_configs", fmt::format("{} VNets", raw.vnet_configs.size()),
                    fmt::format("a sample has 1..{}", most_vnets));
  }
  Plan plan;
  plan.dhcp = raw.use_pve_ipam_dnsnmasq;
  plan.zone_options =
      parse_native_options(NativeKind::zone, "sdn_config", raw.extra_proxmox_native_config);
  std::set<std::string> aliases;
  for (std::size_t i = 0; i < raw.vnet_configs.size(); ++i) {
    const auto field = fmt::format("sdn_config.vnet_configs[{}]", i);
    const auto& vnet = raw.vnet_configs[i];
    if (vnet.alias && vnet.alias->empty()) throw_bad_input(field + ".alias", "", "it has no name");
    if (vnet.alias && !aliases.insert(*vnet.alias).second) {
      throw_bad_input(field + ".alias", *vnet.alias, "another VNet has it");
    }
    plan.vnets.push_back({vnet.alias.value_or("")});
    plan.vnets.back().options =
        parse_native_options(NativeKind::vnet, field, vnet.extra_proxmox_native_config);
    for (std::size_t j = 0; j < vnet.subnets.size(); ++j) {
      const auto name = fmt::format("{}.subnets[{}]", field, j);
      auto subnet = plan_subnet(name, vnet.subnets[j]);
      check_overlap(plan, name, subnet.cidr);
      plan.vnets.back().subnets.push_back(std::move(subnet));
    }
  }
  check_dhcp(plan);
  plan.isolation = parse_isolation(raw.isolation, raw.egress);
  check_egress(plan);
  return plan;
}

// --- cards ---------------------------------------------------------------------------------------

/// The subnet of a VNet that an address is in.
const PlannedSubnet* subnet_of(const PlannedVnet& vnet, const Address& address) {
  const auto found = std::ranges::find_if(
      vnet.subnets, [&](const auto& subnet) { return subnet.cidr.contains(address); });
  return found == vnet.subnets.end() ? nullptr : &*found;
}

void check_fixed_address(const Plan& plan, const Card& card) {
  const auto field = card.field + ".ipv4";
  const auto text = card.ipv4->to_string();
  if (!card.ipv4->is_v4()) throw_bad_input(field, text, "an IPv4 address is needed");
  if (card.mac.empty()) throw_bad_input(field, text, "a reservation needs mac");
  if (!card.vnet) return;
  const auto& vnet = plan.vnets[*card.vnet];
  if (!plan.dhcp) {
    throw_bad_input(field, text,
                    "a reservation needs DHCP; set sdn_config.use_pve_ipam_dnsnmasq=True");
  }
  const auto* subnet = subnet_of(vnet, *card.ipv4);
  if (subnet == nullptr || !subnet->cidr.can_be_a_host(*card.ipv4)) {
    std::vector<std::string> cidrs;
    for (const auto& item : vnet.subnets) cidrs.push_back(item.cidr.text());
    throw_bad_input(
        field, text,
        fmt::format("it is a host's address in a subnet of its VNet: {}",
                    cidrs.empty() ? "it has none" : fmt::format("{}", fmt::join(cidrs, ", "))));
  }
  if (subnet->gateway == *card.ipv4) throw_bad_input(field, text, "it is the gateway's");
  for (const auto& range : subnet->dhcp_ranges) {
    if (holds(range, *card.ipv4)) {
      throw_bad_input(
          field, text,
          fmt::format("another VM may be given it: it lies in the DHCP range {}", text_of(range)));
    }
  }
}

}  // namespace

namespace {

/// With their lengths, so that no value looks like another option.
std::string key_of(const NativeOptions& options) {
  std::string out;
  for (const auto& [option, value] : options) {
    out += fmt::format(" {}={}:{}", option, value.size(), value);
  }
  return out;
}

}  // namespace

std::string Plan::key() const {
  std::string out = automatic ? "auto" : dhcp ? "dhcp" : "static";
  out += ' ' + isolation.key() + key_of(zone_options);
  for (const auto& vnet : vnets) {
    out += fmt::format("\n{}{}", vnet.alias, key_of(vnet.options));
    for (const auto& subnet : vnet.subnets) {
      out +=
          fmt::format("\n {} {} {}", subnet.cidr.text(), subnet.gateway.to_string(), subnet.snat);
      for (const auto& range : subnet.dhcp_ranges) out += " " + text_of(range);
      out += key_of(subnet.options);
    }
  }
  return out;
}

bool Plan::has_fixed_ranges() const noexcept {
  return std::ranges::any_of(vnets, [](const auto& vnet) { return !vnet.subnets.empty(); });
}

bool gives_ipv4(const Plan& plan, const PlannedVnet& vnet) {
  return plan.dhcp && std::ranges::any_of(vnet.subnets, [](const auto& subnet) {
           return subnet.gateway.is_v4() && !subnet.dhcp_ranges.empty();
         });
}

std::vector<WireSubnet> wire_of(const Plan& plan, const PlannedVnet& vnet) {
  std::vector<WireSubnet> out;
  for (const auto& subnet : vnet.subnets) {
    out.push_back({subnet.cidr, subnet.gateway, subnet.snat, plan.dhcp});
  }
  return out;
}

Plan parse_plan(const boost::json::value& sdn_config) {
  if (sdn_config.is_null()) return {};
  if (sdn_config.is_string()) {
    if (sdn_config.get_string() != "auto") {
      throw_bad_input("sdn_config", std::string{sdn_config.get_string()},
                      "it is \"auto\", an SdnConfig, or None");
    }
    return {.automatic = true, .dhcp = true, .vnets = {PlannedVnet{}}};
  }
  return plan_configured(json::to<RawSdn>(sdn_config, "sdn_config"));
}

Card plan_card(const Plan& plan, const std::string& field, const NicConfig& nic) {
  Card card{field, std::nullopt, nic.vnet_alias};
  if (nic.vnet_alias.empty())
    throw_bad_input(field + ".vnet_alias", "", "a VNet's alias is needed");
  const auto found = std::ranges::find(plan.vnets, nic.vnet_alias, &PlannedVnet::alias);
  if (found != plan.vnets.end()) {
    card.vnet = static_cast<std::size_t>(found - plan.vnets.begin());
    card.alias.clear();
  }
  if (nic.mac) card.mac = parse_mac(field + ".mac", *nic.mac);
  if (nic.ipv4) {
    card.ipv4 = parse_address(field + ".ipv4", *nic.ipv4);
    check_fixed_address(plan, card);
  }
  return card;
}

Card first_card(const std::string& field) {
  return {field, 0};
}

void check_cards(const Plan& plan, const std::vector<Card>& cards) {
  std::map<std::string, std::string> macs;
  std::map<std::string, std::string> addresses;
  for (const auto& card : cards) {
    if (!card.mac.empty()) {
      const auto [other, fresh] = macs.emplace(card.mac, card.field);
      if (!fresh) throw_bad_input(card.field + ".mac", card.mac, other->second + " has it, too");
    }
    if (!card.ipv4) continue;
    // Two VNets of the server may well use the same addresses.
    const auto where = card.vnet ? plan.vnets[*card.vnet].alias : card.alias;
    const auto text = card.ipv4->to_string();
    const auto [other, fresh] = addresses.emplace(where + '\n' + text, card.field);
    if (!fresh) throw_bad_input(card.field + ".ipv4", text, other->second + " has it, too");
  }
}

// --- "auto" --------------------------------------------------------------------------------------

Plan with_range(const Plan& plan, int octet) {
  const auto address = [&](int host) {
    return boost::asio::ip::make_address(fmt::format("192.168.{}.{}", octet, host));
  };
  auto out = plan;
  out.vnets.front().subnets = {
      PlannedSubnet{Cidr::parse("sdn_config", fmt::format("192.168.{}.0/24", octet)),
                    address(1),
                    true,
                    {DhcpRange{address(50), address(100)}}}};
  return out;
}

std::vector<int> free_octets(const std::vector<Cidr>& taken, std::size_t count, int start) {
  constexpr int all = last_octet - first_octet + 1;
  std::vector<int> out;
  for (int i = 0; i < all && out.size() < count; ++i) {
    const int octet = first_octet + (start + i) % all;
    const auto range = Cidr::parse("", fmt::format("192.168.{}.0/24", octet));
    if (std::ranges::none_of(taken, [&](const Cidr& other) { return range.overlaps(other); })) {
      out.push_back(octet);
    }
  }
  return out;
}

// --- names and marks -----------------------------------------------------------------------------

namespace {

constexpr std::string_view mark_begin = "[inspect-run-";
constexpr std::size_t run_length = 8;
constexpr std::size_t longest_alias = 200;  // the server takes 256 with the mark

bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// The server's own rule: blanks, letters, digits, `(`, and 0x29..0x5F (pve-practice section 7).
bool may_stand_in_an_alias(char c) {
  return c == ' ' || c == '(' || (c >= 0x29 && c <= 0x5F) || is_lower(c);
}

}  // namespace

std::string stem_of(std::string_view task) {
  std::string out;
  for (const char c : task) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (is_lower(lower) && out.size() < 3) out += lower;
  }
  return out.empty() ? "px" : out;
}

std::string prefix_of(std::string_view stem, int number) {
  return fmt::format("{}{:03}", stem, number % 1000);
}

std::string zone_name(std::string_view prefix) {
  return fmt::format("{}z", prefix);
}

std::string vnet_name(std::string_view prefix, std::size_t index) {
  return fmt::format("{}v{}", prefix, index);
}

std::string prefix_of_zone(std::string_view zone) {
  // One to three letters or digits, three digits, z: the existing provider's own rule.
  if (zone.size() < 5 || zone.size() > 7 || zone.back() != 'z') return {};
  const auto prefix = zone.substr(0, zone.size() - 1);
  const auto stem = prefix.substr(0, prefix.size() - 3);
  const auto number = prefix.substr(stem.size());
  const bool ours = std::ranges::all_of(number, is_digit) &&
                    std::ranges::all_of(stem, [](char c) { return is_lower(c) || is_digit(c); });
  return ours ? std::string{prefix} : std::string{};
}

std::string mark_alias(std::string_view alias, std::string_view run) {
  std::string out{alias.substr(0, longest_alias)};
  // Also so that no alias can forge a mark.
  std::ranges::replace_if(
      out, [](char c) { return !may_stand_in_an_alias(c) || c == '[' || c == ']'; }, '_');
  return fmt::format("{}{}{}{}]", out, out.empty() ? "" : " ", mark_begin, run);
}

std::optional<std::string> run_of_alias(std::string_view alias) {
  const auto length = mark_begin.size() + run_length + 1;
  if (alias.size() < length || alias.back() != ']') return std::nullopt;
  const auto mark = alias.substr(alias.size() - length);
  const auto run = mark.substr(mark_begin.size(), run_length);
  const bool hex =
      std::ranges::all_of(run, [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); });
  if (!mark.starts_with(mark_begin) || !hex) return std::nullopt;
  return std::string{run};
}

}  // namespace px::network
