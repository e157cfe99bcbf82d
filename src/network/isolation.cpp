#include "network/isolation.hpp"

#include "support/error.hpp"
#include "support/json.hpp"

#include <boost/algorithm/string/classification.hpp>
#include <boost/algorithm/string/split.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace px::network {

using pve::firewall::Rule;

namespace {

// --- the configuration as it comes ---------------------------------------------------------------

struct RawDestination {
  std::string cidr;
  std::optional<std::string> ports;
  std::string protocol = "tcp";
};
template <class V>
void describe(V& visit, RawDestination& destination) {
  visit("cidr", destination.cidr);
  visit("ports", destination.ports);
  visit("protocol", destination.protocol);
}

/// iptables' multiport takes 15, and a range is two of them.
constexpr std::size_t most_ports = 15;

int port_of(const std::string& field, const std::string& all, std::string_view text) {
  int port = 0;
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc{} || stop != end || port < 1 || port > 65535) {
    throw_bad_input(field, all, "ports are numbers of 1..65535 and ranges: 443,8000-8010");
  }
  return port;
}

/// "443,8000-8010" as "443,8000:8010".
std::string parse_ports(const std::string& field, const std::string& text) {
  std::vector<std::string> items;
  boost::split(items, text, boost::is_any_of(","));
  std::size_t count = 0;
  for (auto& item : items) {
    const auto dash = item.find('-');
    const auto first = port_of(field, text, std::string_view{item}.substr(0, dash));
    ++count;
    if (dash == std::string::npos) continue;
    if (port_of(field, text, std::string_view{item}.substr(dash + 1)) < first) {
      throw_bad_input(field, text, "a range goes upwards");
    }
    ++count;
    item[dash] = ':';
  }
  if (count > most_ports) {
    throw_bad_input(field, text,
                    fmt::format("at most {} ports, a range counts as two; split it", most_ports));
  }
  return fmt::format("{}", fmt::join(items, ","));
}

Destination parse_destination(const std::string& field, const RawDestination& raw) {
  Destination out{Cidr::parse(field + ".cidr", raw.cidr)};
  if (raw.protocol != "tcp" && raw.protocol != "udp") {
    throw_bad_input(field + ".protocol", raw.protocol, "it is tcp or udp");
  }
  if (!raw.ports) return out;
  out.protocol = raw.protocol;
  out.ports = parse_ports(field + ".ports", *raw.ports);
  return out;
}

// --- rules ---------------------------------------------------------------------------------------

/// Networks that are somebody's own, the link-local ones with the metadata services among them.
constexpr std::string_view private_networks[] = {
    "10.0.0.0/8",    "100.64.0.0/10",  "127.0.0.0/8", "169.254.0.0/16",
    "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",    "fe80::/10",
};
constexpr std::string_view link_local = "fe80::/10";
constexpr std::string_view everyone_v4 = "255.255.255.255";
constexpr std::string_view dhcp_servers_v6 = "ff02::1:2";  // RFC 8415 section 7.1
constexpr std::string_view everywhere_v4 = "0.0.0.0/0";
constexpr std::string_view everywhere_v6 = "::/0";
/// A rule's `source` and `dest` take 512 characters (the schema's maxLength).
constexpr std::size_t longest_list = 512;

Rule out_rule(std::string action, std::string dest) {
  return {.type = "out", .action = std::move(action), .dest = std::move(dest)};
}

/// Lists with commas, each of one family and not too long for a rule.
std::vector<std::string> lists_of(const std::vector<std::string>& items) {
  std::vector<std::string> out;
  for (const bool v6 : {false, true}) {
    std::string list;
    for (const auto& item : items) {
      if ((item.find(':') != std::string::npos) != v6) continue;
      if (list.size() + 1 + item.size() > longest_list) out.push_back(std::exchange(list, {}));
      list += (list.empty() ? "" : ",") + item;
    }
    if (!list.empty()) out.push_back(std::move(list));
  }
  return out;
}

std::vector<std::string> networks_of(const std::vector<WireSubnet>& subnets) {
  std::vector<std::string> out;
  for (const auto& subnet : subnets) out.push_back(subnet.cidr.text());
  return out;
}

std::vector<std::string> gateways_of(const std::vector<WireSubnet>& subnets) {
  std::vector<std::string> out;
  for (const auto& subnet : subnets) {
    if (subnet.gateway) out.push_back(subnet.gateway->to_string());
  }
  return out;
}

bool is_private(const Cidr& cidr) {
  return std::ranges::any_of(private_networks, [&](std::string_view text) {
    const auto network = Cidr::parse("", text);
    return network.contains(cidr.first()) && network.contains(cidr.last());
  });
}

void allow(std::vector<Rule>& out, const std::vector<Destination>& destinations) {
  for (const auto& destination : destinations) {
    auto rule = out_rule("ACCEPT", destination.cidr.text());
    rule.proto = destination.protocol;
    rule.dport = destination.ports;
    out.push_back(std::move(rule));
  }
}

void allow_names(std::vector<Rule>& out, const std::vector<WireSubnet>& subnets) {
  for (const auto& subnet : subnets) {
    if (!subnet.dhcp || !subnet.snat || !subnet.gateway) continue;
    for (const auto* protocol : {"udp", "tcp"}) {
      auto rule = out_rule("ACCEPT", subnet.gateway->to_string());
      rule.proto = protocol;
      rule.dport = "53";
      out.push_back(std::move(rule));
    }
  }
}

/// A client asks everyone at first, its server to stay. What the server says comes from its
/// address in the subnet, in IPv6 from its link-local one.
void allow_dhcp(std::vector<Rule>& out, const std::vector<WireSubnet>& subnets) {
  for (const auto& subnet : subnets) {
    if (!subnet.dhcp || !subnet.gateway) continue;
    const bool v4 = subnet.gateway->is_v4();
    auto rule = out_rule("ACCEPT", v4 ? subnet.gateway->to_string() + "," + std::string{everyone_v4}
                                      : std::string{dhcp_servers_v6});
    rule.proto = "udp";
    rule.dport = v4 ? "67" : "547";
    out.push_back(std::move(rule));
    if (v4) continue;
    out.push_back({.type = "in",
                   .action = "ACCEPT",
                   .source = std::string{link_local},
                   .proto = "udp",
                   .dport = "546"});
  }
}

/// The node's own addresses, then the VNet itself.
void allow_neighbours(std::vector<Rule>& out, const std::vector<WireSubnet>& subnets) {
  for (auto& list : lists_of(gateways_of(subnets))) out.push_back(out_rule("DROP", list));
  for (auto& list : lists_of(networks_of(subnets))) {
    out.push_back({.type = "in", .action = "ACCEPT", .source = list});
    out.push_back(out_rule("ACCEPT", list));
  }
}

void allow_internet(std::vector<Rule>& out, const std::vector<Cidr>& foreign, bool v4, bool v6) {
  std::vector<std::string> closed{std::begin(private_networks), std::end(private_networks)};
  for (const auto& network : foreign) {
    if (!is_private(network)) closed.push_back(network.text());
  }
  std::ranges::sort(closed);
  closed.erase(std::unique(closed.begin(), closed.end()), closed.end());
  for (auto& list : lists_of(closed)) {
    const bool is_v6 = list.find(':') != std::string::npos;
    if (is_v6 ? v6 : v4) out.push_back(out_rule("DROP", list));
  }
  if (v4) out.push_back(out_rule("ACCEPT", std::string{everywhere_v4}));
  if (v6) out.push_back(out_rule("ACCEPT", std::string{everywhere_v6}));
}

std::vector<Rule> rules_of_a_wire() {
  return {{.type = "in", .action = "ACCEPT"},
          out_rule("DROP", std::string{link_local}),
          {.type = "out", .action = "ACCEPT"}};
}

}  // namespace

std::string Isolation::key() const {
  if (!closed) return "open";
  std::string out = internet ? "closed all" : "closed";
  for (const auto& item : destinations) {
    out += fmt::format(" {}/{}/{}", item.cidr.text(), item.protocol, item.ports);
  }
  return out;
}

Isolation parse_isolation(const std::string& isolation, const boost::json::value& egress) {
  const std::string field = "sdn_config.egress";
  if (isolation != "closed" && isolation != "open") {
    throw_bad_input("sdn_config.isolation", isolation, "it is \"closed\" or \"open\"");
  }
  Isolation out{isolation == "closed"};
  if (egress.is_string()) {
    const std::string text{egress.get_string()};
    if (text != "all" && text != "none") {
      throw_bad_input(field, text, "it is \"all\", \"none\", or a list of networks");
    }
    out.internet = text == "all";
  } else {
    out.internet = false;
    const auto raw = json::to<std::vector<RawDestination>>(egress, field);
    for (std::size_t i = 0; i < raw.size(); ++i) {
      out.destinations.push_back(parse_destination(fmt::format("{}[{}]", field, i), raw[i]));
    }
  }
  if (!out.closed && !out.internet) {
    throw_bad_input(
        "sdn_config.isolation", isolation,
        "egress limits closed networks only; set isolation=\"closed\" or egress=\"all\"");
  }
  return out;
}

std::vector<Rule> rules_of(const std::vector<WireSubnet>& subnets, const Isolation& isolation,
                           const std::vector<Cidr>& foreign) {
  if (subnets.empty()) return rules_of_a_wire();
  bool v4 = false;
  bool v6 = false;
  for (const auto& subnet : subnets) {
    if (subnet.snat) (subnet.cidr.first().is_v4() ? v4 : v6) = true;
  }
  std::vector<Rule> out;
  allow_dhcp(out, subnets);
  if (v4 || v6) {
    // What somebody names wins over what is closed to all.
    allow(out, isolation.destinations);
    if (isolation.internet) allow_names(out, subnets);
  }
  allow_neighbours(out, subnets);
  if (isolation.internet) allow_internet(out, foreign, v4, v6);
  return out;
}

std::vector<Rule> rules_among_strangers(const std::vector<WireSubnet>& subnets,
                                        const std::vector<Cidr>& foreign) {
  std::vector<Rule> out;
  if (subnets.empty()) {
    // A server of theirs, at an address that nobody told us.
    out.push_back({.type = "in", .action = "ACCEPT", .proto = "udp", .dport = "68"});
    auto rule = out_rule("ACCEPT", std::string{everyone_v4});
    rule.proto = "udp";
    rule.dport = "67";
    out.push_back(std::move(rule));
  }
  allow_dhcp(out, subnets);
  allow_names(out, subnets);
  allow_neighbours(out, subnets);
  allow_internet(out, foreign, true, true);
  return out;
}

}  // namespace px::network
