#include "node/firewall/guest_filter.hpp"

#include "node/firewall/firewall_rules.hpp"
#include "node/firewall/firewall_syntax.hpp"

#include <boost/algorithm/string/replace.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace px::node {

namespace {

/// Everything that one card's rules can name.
struct Scope {
  const FilteredCard& card;
  const FirewallFile& datacenter;
  const FirewallFile& vm;
};

struct Family {
  int version;
  std::string_view name;      ///< of its addresses in nft
  std::string_view protocol;  ///< of its packets
};
constexpr std::array ip_families{Family{4, "ip", "ip"}, Family{6, "ip6", "ip6"}};

bool option(const json::object& options, std::string_view name, bool otherwise) {
  return json::flag_or(options, name, otherwise);
}

std::string line(std::string_view text) {
  return text.empty() ? "" : fmt::format("    {}\n", text);
}

/// Addresses to match and, within them, not to match.
struct AddressSet {
  std::vector<std::string> elements;
  std::vector<std::string> exceptions;
};

/// The alias behind an IP set's entry, or the entry.
std::string resolved_entry(const std::string& cidr, const Scope& scope) {
  const auto spec = parse_address_spec(cidr);
  if (spec.kind != AddressSpec::Kind::alias) return cidr;
  const auto* alias = find_alias(spec, scope.datacenter, &scope.vm);
  return alias == nullptr ? "" : json::text_at(*alias, "cidr");
}

AddressSet matched_addresses(const AddressSpec& spec, const Scope& scope) {
  if (spec.kind == AddressSpec::Kind::list) return {spec.elements, {}};
  if (spec.kind == AddressSpec::Kind::alias) {
    const auto* alias = find_alias(spec, scope.datacenter, &scope.vm);
    return alias == nullptr ? AddressSet{} : AddressSet{{json::text_at(*alias, "cidr")}, {}};
  }
  AddressSet out;
  const auto* set = find_ipset(spec, scope.datacenter, &scope.vm);
  if (set == nullptr) return out;
  for (const auto& entry : set->entries) {
    const auto cidr = resolved_entry(json::text_at(entry, "cidr"), scope);
    if (cidr.empty()) continue;
    auto& list = json::flag_or(entry, "nomatch", false) ? out.exceptions : out.elements;
    list.push_back(cidr);
  }
  return out;
}

std::vector<std::string> of_version(const std::vector<std::string>& list, int version) {
  std::vector<std::string> out;
  for (const auto& cidr : list) {
    if (ip_version_of(cidr) == version) out.push_back(cidr);
  }
  return out;
}

/// `ip saddr { ... }`; nothing when no packet of the family can match.
std::optional<std::string> address_match(const AddressSet& set, const Family& family,
                                         std::string_view side) {
  const auto elements = of_version(set.elements, family.version);
  const auto exceptions = of_version(set.exceptions, family.version);
  if (elements.empty()) return std::nullopt;
  // An interval that is the whole space is no element of a set for every nft.
  const bool any = std::any_of(elements.begin(), elements.end(),
                               [](const std::string& cidr) { return cidr.ends_with("/0"); });
  auto out = any ? fmt::format("meta protocol {}", family.protocol)
                 : fmt::format("{} {} {{ {} }}", family.name, side, fmt::join(elements, ", "));
  if (!exceptions.empty()) {
    out += fmt::format(" {} {} != {{ {} }}", family.name, side, fmt::join(exceptions, ", "));
  }
  return out;
}

std::string port_match(const json::object& rule, const char* name, std::string_view side) {
  if (!rule.contains(name)) return {};
  auto ports = json::text_at(rule, name);
  boost::algorithm::replace_all(ports, ":", "-");
  boost::algorithm::replace_all(ports, ",", ", ");
  return fmt::format(" th {} {{ {} }}", side, ports);
}

std::string protocol_match(const json::object& rule) {
  const auto protocol = json::text_or(rule, "proto");
  if (protocol.empty()) return {};
  return fmt::format(" meta l4proto {}", protocol_number(protocol).value_or(0)) +
         port_match(rule, "sport", "sport") + port_match(rule, "dport", "dport");
}

std::string verdict(const std::string& action, const FilteredCard& card) {
  return action == "ACCEPT" ? fmt::format("goto {}-keep", card.tap) : "drop";
}

/// The lines of one rule: one a family where addresses are named.
std::string rule_lines(const json::object& rule, const Scope& scope) {
  const auto end = fmt::format("{} {}", protocol_match(rule),
                               verdict(json::text_at(rule, "action"), scope.card));
  const bool has_source = rule.contains("source");
  const bool has_dest = rule.contains("dest");
  if (!has_source && !has_dest) return line(std::string_view{end}.substr(1));
  const auto addresses = [&](const char* name) {
    return matched_addresses(parse_address_spec(json::text_at(rule, name)), scope);
  };
  std::string out;
  for (const auto& family : ip_families) {
    std::optional<std::string> source{""};
    std::optional<std::string> dest{""};
    if (has_source) source = address_match(addresses("source"), family, "saddr");
    if (has_dest) dest = address_match(addresses("dest"), family, "daddr");
    if (!source || !dest) continue;
    const auto* between = has_source && has_dest ? " " : "";
    out += line(*source + between + *dest + end);
  }
  return out;
}

bool applies(const json::object& rule, const FilteredCard& card) {
  if (json::number_or(rule, "enable", 0) == 0) return false;
  const auto interface = json::text_or(rule, "iface");
  return interface.empty() || interface == card.nic;
}

std::string rules_of(const FirewallRules& rules, std::string_view direction, const Scope& scope) {
  std::string out;
  for (const auto& rule : rules) {
    if (!applies(rule, scope.card)) continue;
    const auto type = json::text_at(rule, "type");
    if (type == direction) out += rule_lines(rule, scope);
    if (type != "group") continue;
    // One that is not there has no rules.
    const auto group = scope.datacenter.groups.find(json::text_at(rule, "action"));
    if (group != scope.datacenter.groups.end()) {
      out += rules_of(group->second.rules, direction, scope);
    }
  }
  return out;
}

/// From its MAC (RFC 4291, appendix A).
std::string link_local_address(const std::string& mac) {
  const auto byte = [&](std::size_t i) { return std::stoi(mac.substr(i * 3, 2), nullptr, 16); };
  return fmt::format("fe80::{:x}:{:x}:{:x}:{:x}", (byte(0) ^ 2) << 8 | byte(1), byte(2) << 8 | 0xff,
                     0xfe00 | byte(3), byte(4) << 8 | byte(5));
}

/// The addresses that a card may send from, where it is bound to some: with `ipfilter=1`, or by an
/// IP set of its name. Its own IPv6 link-local address is always one of them.
std::string source_filter(const Scope& scope) {
  const auto name = "ipfilter-" + scope.card.nic;
  const bool has_set = scope.vm.ipsets.contains(name);
  if (!has_set && !option(scope.vm.options, "ipfilter", false)) return {};
  const auto allowed = matched_addresses(parse_address_spec("+guest/" + name), scope).elements;
  const auto v4 = of_version(allowed, 4);
  auto v6 = of_version(allowed, 6);
  v6.emplace_back("::");  // a card that looks whether its address is free (RFC 4862)
  v6.push_back(link_local_address(scope.card.mac));
  std::string out;
  if (v4.empty()) {
    out += line("meta protocol { ip, arp } drop");
  } else {
    out += line(fmt::format("ip saddr != {{ {} }} drop", fmt::join(v4, ", ")));
    out += line(fmt::format("arp saddr ip != {{ {} }} drop", fmt::join(v4, ", ")));
  }
  return out + line(fmt::format("ip6 saddr != {{ {} }} drop", fmt::join(v6, ", ")));
}

/// What goes the opposite way of an accepted flow, and the later pieces of what is cut up.
std::string reply_lines(const std::string& tap) {
  std::string out;
  for (const auto& family : ip_families) {
    const auto there = fmt::format("{0} saddr . {0} daddr . meta l4proto", family.name);
    const auto back = fmt::format("{0} daddr . {0} saddr . meta l4proto", family.name);
    const auto flows = fmt::format("@{}-flows{}", tap, family.version);
    const auto pairs = fmt::format("@{}-pairs{}", tap, family.version);
    const auto* fragment = family.version == 4 ? "ip frag-off & 0x1fff != 0" : "frag frag-off != 0";
    const auto* pong = family.version == 4 ? "icmp type echo-reply" : "icmpv6 type echo-reply";
    out += line(fmt::format(
        "meta l4proto {{ 6, 17, 33, 132, 136 }} {} . th dport . th sport {} accept", back, flows));
    out += line(fmt::format("{} {} {} accept", fragment, there, pairs));
    out += line(fmt::format("{} {} {} accept", fragment, back, pairs));
    out += line(fmt::format("{} {} {} accept", pong, back, pairs));
    out += line(
        fmt::format("meta l4proto != {{ 1, 6, 17, 33, 58, 132, 136 }} {} {} accept", back, pairs));
  }
  return out;
}

/// Where all rules that accept lead: notes the flow.
std::string keep_chain(const std::string& tap) {
  std::string out = fmt::format("  chain {}-keep {{\n", tap);
  for (const auto& family : ip_families) {
    const auto key = fmt::format("{0} saddr . {0} daddr . meta l4proto", family.name);
    const auto flows = fmt::format("@{}-flows{}", tap, family.version);
    out += line(fmt::format("update @{}-pairs{} {{ {} }}", tap, family.version, key));
    out += line(fmt::format(
        "tcp flags & (fin|syn|rst) == 0 update {} {{ {} . th sport . th dport timeout 2h }} accept",
        flows, key));
    out += line(fmt::format(
        "meta l4proto {{ 6, 17, 33, 132, 136 }} update {} {{ {} . th sport . th dport }} accept",
        flows, key));
  }
  return out + "    accept\n  }\n";
}

std::string flow_sets(const std::string& tap) {
  std::string out;
  for (const auto& family : ip_families) {
    const auto address = family.version == 4 ? "ipv4_addr" : "ipv6_addr";
    const auto set = [&](std::string_view kind, std::string_view ports) {
      out += fmt::format(
          "  set {}-{}{} {{\n    type {} . {} . inet_proto{}\n"
          "    flags dynamic,timeout\n    size 65536\n    timeout 2m\n  }}\n",
          tap, kind, family.version, address, address, ports);
    };
    set("flows", " . inet_service . inet_service");
    set("pairs", "");
  }
  return out;
}

std::string policy(const Scope& scope, const char* name, const char* otherwise) {
  return line(verdict(json::text_or(scope.vm.options, name, otherwise), scope.card));
}

/// From the guest.
std::string out_chain(const Scope& scope) {
  const auto& options = scope.vm.options;
  std::string out = fmt::format("  chain {}-out {{\n", scope.card.tap);
  if (option(options, "macfilter", true)) {
    out += line(fmt::format("ether saddr != {} drop", scope.card.mac));
    out += line(fmt::format("arp saddr ether != {} drop", scope.card.mac));
  }
  // Unset is on, whatever the API's schema says: both daemons of Proxmox VE take it so
  // (ruleset_create_vm_chain; proxmox-ve-rs, GUEST_ALLOW_DHCP_DEFAULT).
  if (option(options, "dhcp", true)) {
    out += line("udp sport 68 udp dport 67 accept");
    out += line("udp sport 546 udp dport 547 accept");
  }
  out += source_filter(scope);
  out += line("meta protocol arp accept");
  if (!option(options, "radv", false)) {
    out += line("icmpv6 type { nd-router-advert, nd-redirect } drop");
  }
  if (option(options, "ndp", true)) {
    out +=
        line("icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept");
  }
  out += reply_lines(scope.card.tap);
  out += rules_of(scope.vm.rules, "out", scope);
  return out + policy(scope, "policy_out", "ACCEPT") + "  }\n";
}

/// To the guest.
std::string in_chain(const Scope& scope) {
  const auto& options = scope.vm.options;
  std::string out = fmt::format("  chain {}-in {{\n", scope.card.tap);
  out += line("meta protocol arp accept");
  if (option(options, "dhcp", true)) {
    out += line("udp sport 67 udp dport 68 accept");
    out += line("udp sport 547 udp dport 546 accept");
  }
  if (option(options, "ndp", true)) {
    out += line(
        "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, "
        "nd-neighbor-advert } accept");
  }
  // Why something that the guest sent did not arrive.
  out += line("icmp type { destination-unreachable, time-exceeded, parameter-problem } accept");
  out += line(
      "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } "
      "accept");
  out += reply_lines(scope.card.tap);
  out += rules_of(scope.vm.rules, "in", scope);
  return out + policy(scope, "policy_in", "DROP") + "  }\n";
}

}  // namespace

std::string guest_table() {
  // Before the kernel's own hooks of the bridge, which may hand packets to the inet family
  // (bridge-nf); from the guest before the bridge chose a way, so that the node is a target, too.
  return "table bridge guests {\n}\n"
         "delete table bridge guests\n"
         "table bridge guests {\n"
         "  map cards-out {\n    type ifname : verdict\n  }\n"
         "  map cards-in {\n    type ifname : verdict\n  }\n"
         "  chain out {\n"
         "    type filter hook prerouting priority -200; policy accept;\n"
         "    iifname vmap @cards-out\n"
         "  }\n"
         "  chain in {\n"
         "    type filter hook postrouting priority 0; policy accept;\n"
         "    oifname vmap @cards-in\n"
         "  }\n"
         "}\n";
}

std::string card_filter(const FilteredCard& card, const FirewallFile& datacenter,
                        const FirewallFile& vm) {
  const Scope scope{card, datacenter, vm};
  std::string chains;
  std::string flushes;
  std::string elements;
  for (const auto* chain : {"keep", "out", "in"}) {
    chains += fmt::format("  chain {}-{} {{\n  }}\n", card.tap, chain);
    flushes += fmt::format("flush chain bridge guests {}-{}\n", card.tap, chain);
  }
  for (const auto* direction : {"out", "in"}) {
    elements += fmt::format("add element bridge guests cards-{0} {{ \"{1}\" : goto {1}-{0} }}\n",
                            direction, card.tap);
  }
  return fmt::format("table bridge guests {{\n{}}}\n{}table bridge guests {{\n{}{}{}{}}}\n{}",
                     chains, flushes, flow_sets(card.tap), keep_chain(card.tap), out_chain(scope),
                     in_chain(scope), elements);
}

std::string card_filter_removal(const std::string& tap) {
  std::string out;
  for (const auto* direction : {"out", "in"}) {
    out += fmt::format("delete element bridge guests cards-{} {{ \"{}\" }}\n", direction, tap);
  }
  for (const auto* chain : {"out", "in", "keep"}) {
    out += fmt::format("flush chain bridge guests {}-{}\n", tap, chain);
  }
  for (const auto* chain : {"out", "in", "keep"}) {
    out += fmt::format("delete chain bridge guests {}-{}\n", tap, chain);
  }
  for (const auto* set : {"flows4", "pairs4", "flows6", "pairs6"}) {
    out += fmt::format("delete set bridge guests {}-{}\n", tap, set);
  }
  return out;
}

bool is_filtering(const FirewallFile& datacenter, const FirewallFile& vm) {
  return json::number_or(datacenter.options, "enable", 0) != 0 &&
         option(vm.options, "enable", false);
}

}  // namespace px::node
