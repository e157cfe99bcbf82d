#include "node/network/network_plan.hpp"

#include "support/bytes.hpp"

#include <boost/asio/ip/network_v4.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace px::node {

namespace {

bool is_on(const json::object& zone, const std::string& node) {
  const auto nodes = json::text_or(zone, "nodes");
  return nodes.empty() || ("," + nodes + ",").find("," + node + ",") != std::string::npos;
}

PlannedNetwork planned_network(const SdnConfig& config, const std::string& name,
                               const json::object& vnet, const json::object& zone) {
  PlannedNetwork network;
  network.name = name;
  network.isolate_ports = json::flag_or(vnet, "isolate-ports", false);
  network.mtu = static_cast<int>(json::number_or(zone, "mtu", 0));
  for (auto& subnet : subnets_of(config, name)) {
    const auto gateway = parse_ip(subnet.gateway);
    if (!gateway) continue;
    const int prefix = subnet.cidr.prefix;
    network.subnets.push_back({std::move(subnet), Cidr{*gateway, prefix}});
  }
  // A server without an address on its interface can't answer.
  network.has_dhcp = zone.contains("ipam") && zone.contains("dhcp") && !network.subnets.empty();
  return network;
}

std::set<std::string> addresses_of(const PlannedNetwork& network) {
  std::set<std::string> out;
  for (const auto& subnet : network.subnets) out.insert(subnet.gateway.print());
  return out;
}

/// A bridge answers at its own IPv6 link-local address even where no subnet gives it one
/// (pve-practice section 6): it gets none, but where its guests have an IPv6 gateway.
std::string new_bridge(const PlannedNetwork& network) {
  // A bridge without an address of its own takes that of a port, and its guests lose their gateway
  // for a moment when it changes. The first byte says "locally administered".
  const auto hash = sha256_hex(network.name);
  std::string out = fmt::format(
      "link add name {} address 02:{}:{}:{}:{}:{} type bridge forward_delay 0 stp_state 0\n",
      network.name, hash.substr(0, 2), hash.substr(2, 2), hash.substr(4, 2), hash.substr(6, 2),
      hash.substr(8, 2));
  if (!network.has_v6()) out += fmt::format("link set dev {} addrgenmode none\n", network.name);
  return out;
}

std::string address_changes(const std::string& name, const std::set<std::string>& now,
                            const std::set<std::string>& wanted) {
  std::string out;
  for (const auto& address : now) {
    if (!wanted.contains(address)) out += fmt::format("addr del {} dev {}\n", address, name);
  }
  for (const auto& address : wanted) {
    if (now.contains(address)) continue;
    // Nobody else has a gateway's address here: no waiting for whoever might.
    const bool v6 = address.find(':') != std::string::npos;
    out += fmt::format("addr add {} dev {}{}\n", address, name, v6 ? " nodad" : "");
  }
  return out;
}

std::string_view family_of(const PlannedSubnet& subnet) {
  return subnet.gateway.is_v4() ? "ip" : "ip6";
}

std::string network_of(const PlannedSubnet& subnet) {
  return Cidr{subnet.subnet.cidr.network(), subnet.subnet.cidr.prefix}.print();
}

/// What guests may ask of their own gateway.
std::string input_rules(const PlannedNetwork& network) {
  std::string out;
  for (const auto& subnet : network.subnets) {
    const auto family = family_of(subnet);
    const auto gateway = subnet.gateway.address.to_string();
    const auto source = fmt::format("iifname \"{}\" {} daddr {}", network.name, family, gateway);
    out += fmt::format("    {} {} type echo-request accept\n", source,
                       family == "ip" ? "icmp" : "icmpv6");
    if (!network.has_dhcp) continue;
    for (const auto* protocol : {"udp", "tcp"}) {
      out += fmt::format("    {} {} dport 53 accept\n", source, protocol);
    }
  }
  if (network.has_dhcp) {
    out += fmt::format("    iifname \"{}\" udp dport {{ 67, 547 }} accept\n", network.name);
  }
  if (network.has_v6()) {
    out += fmt::format(
        "    iifname \"{}\" icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, "
        "nd-router-solicit }} accept\n",
        network.name);
  }
  return out;
}

std::string forward_rules(const PlannedNetwork& network, const Uplink& uplink) {
  // Where bridge-nf is on, as it may be in a new namespace, this chain sees the frames inside one
  // bridge as well (guest-facts section 5).
  std::string out = fmt::format("    iifname \"{0}\" oifname \"{0}\" accept\n", network.name);
  if (uplink.interface.empty()) return out;
  for (const auto& subnet : network.subnets) {
    if (!subnet.subnet.snat) continue;
    out += fmt::format("    iifname \"{}\" oifname \"{}\" {} saddr {} accept\n", network.name,
                       uplink.interface, family_of(subnet), network_of(subnet));
  }
  return out;
}

std::string closed_rules(const Uplink& uplink) {
  std::string out;
  for (const auto& network : uplink.closed) {
    const bool v6 = network.find(':') != std::string::npos;
    out += fmt::format("    oifname \"{}\" {} daddr {} drop\n", uplink.interface, v6 ? "ip6" : "ip",
                       network);
  }
  return out;
}

bool has_snat(const PlannedNetwork& network) {
  return std::any_of(network.subnets.begin(), network.subnets.end(),
                     [](const auto& subnet) { return subnet.subnet.snat; });
}

/// A MAC's reservations: what the IPAM holds for it last counts, an orphan of an older booking
/// does not (pve-practice section 4).
std::string reservations(const PlannedSubnet& subnet, const Ipam& ipam) {
  std::string out;
  const auto networks = ipam.zones().find(subnet.subnet.zone);
  if (networks == ipam.zones().end()) return out;
  const auto addresses = networks->second.find(subnet.subnet.cidr_text);
  if (addresses == networks->second.end()) return out;
  for (const auto& [ip, booking] : addresses->second) {
    if (booking.mac.empty()) continue;
    const auto known = ipam.of_mac(booking.mac, subnet.subnet.zone);
    if (ip != known.v4 && ip != known.v6) continue;
    const bool v6 = ip.find(':') != std::string::npos;
    out +=
        fmt::format("dhcp-host={},{},infinite\n", booking.mac, v6 ? fmt::format("[{}]", ip) : ip);
  }
  return out;
}

std::string range_line(const PlannedSubnet& subnet) {
  const auto network = subnet.subnet.cidr.network().to_string();
  const int prefix = subnet.subnet.cidr.prefix;
  if (!subnet.gateway.is_v4()) {
    return fmt::format("enable-ra\nquiet-ra\ndhcp-range={},static,{},infinite\n", network, prefix);
  }
  const auto mask = boost::asio::ip::network_v4{subnet.subnet.cidr.address.to_v4(),
                                                static_cast<unsigned short>(prefix)}
                        .netmask()
                        .to_string();
  return fmt::format("dhcp-range={},static,{},infinite\ndhcp-option=option:router,{}\n", network,
                     mask, subnet.gateway.address.to_string());
}

}  // namespace

bool PlannedNetwork::has_v6() const {
  return std::any_of(subnets.begin(), subnets.end(),
                     [](const auto& subnet) { return !subnet.gateway.is_v4(); });
}

std::map<std::string, PlannedNetwork> planned_networks(const SdnConfig& config,
                                                       const std::string& node) {
  std::map<std::string, PlannedNetwork> out;
  for (const auto& [name, vnet] : config.vnets) {
    const auto zone = config.zones.find(json::text_or(vnet, "zone"));
    if (zone == config.zones.end() || !is_on(zone->second, node)) continue;
    out.emplace(name, planned_network(config, name, vnet, zone->second));
  }
  return out;
}

std::map<std::string, Link> parse_links(const std::string& output) {
  std::map<std::string, Link> out;
  const auto links = json::parse(output, "ip addr");
  for (const auto& link : links.as_array()) {
    Link& entry = out[json::text_or(link, "ifname")];
    entry.master = json::text_or(link, "master");
    if (const auto* info = json::find(link, "linkinfo")) {
      entry.kind = json::text_or(*info, "info_kind");
    }
    const auto* addresses = json::find(link, "addr_info");
    if (addresses == nullptr) continue;
    for (const auto& address : addresses->as_array()) {
      if (json::text_or(address, "scope") == "link") continue;
      entry.addresses.insert(fmt::format("{}/{}", json::text_or(address, "local"),
                                         json::number_or(address, "prefixlen", 0)));
    }
  }
  return out;
}

std::string bridge_changes(const std::map<std::string, Link>& links,
                           const std::map<std::string, PlannedNetwork>& networks) {
  std::string out;
  for (const auto& [name, link] : links) {
    if (link.kind == "bridge" && !networks.contains(name)) {
      out += fmt::format("link del dev {}\n", name);
    }
  }
  for (const auto& [name, network] : networks) {
    const auto link = links.find(name);
    if (link == links.end()) out += new_bridge(network);
    out += address_changes(name,
                           link == links.end() ? std::set<std::string>{} : link->second.addresses,
                           addresses_of(network));
    if (network.mtu > 0) out += fmt::format("link set dev {} mtu {}\n", name, network.mtu);
    if (link == links.end()) out += fmt::format("link set dev {} up\n", name);
  }
  return out;
}

std::string tap_name(int vmid, const std::string& nic) {
  return fmt::format("tap{}i{}", vmid, nic.substr(3));
}

std::string tap_lines(const std::string& tap, const PlannedNetwork* network) {
  return fmt::format(
      "tuntap add dev {0} mode tap vnet_hdr\nlink set dev {0} addrgenmode none\n{1}"
      "link set dev {0} up\n",
      tap, network == nullptr ? "" : move_lines(tap, network));
}

std::string move_lines(const std::string& tap, const PlannedNetwork* network) {
  if (network == nullptr) return fmt::format("link set dev {} nomaster\n", tap);
  auto out =
      fmt::format("link set dev {} master {}\nlink set dev {} type bridge_slave isolated {}\n", tap,
                  network->name, tap, network->isolate_ports ? "on" : "off");
  if (network->mtu > 0) out += fmt::format("link set dev {} mtu {}\n", tap, network->mtu);
  return out;
}

std::string firewall_rules(const std::map<std::string, PlannedNetwork>& networks,
                           const Uplink& uplink) {
  std::string input;
  std::string forward;
  std::string masquerade;
  for (const auto& [name, network] : networks) {
    input += input_rules(network);
    forward += forward_rules(network, uplink);
    for (const auto& subnet : network.subnets) {
      if (uplink.interface.empty() || !subnet.subnet.snat) continue;
      masquerade += fmt::format("    oifname \"{}\" {} saddr {} masquerade\n", uplink.interface,
                                family_of(subnet), network_of(subnet));
    }
  }
  return fmt::format(
      "table inet node {{\n}}\n"
      "delete table inet node\n"
      "table inet node {{\n"
      "  chain input {{\n"
      "    type filter hook input priority 0; policy drop;\n"
      "    iifname \"lo\" accept\n"
      "    ct state established,related accept\n"
      "{}  }}\n"
      "  chain forward {{\n"
      "    type filter hook forward priority 0; policy drop;\n"
      "{}"
      "    ct state established,related accept\n"
      "{}  }}\n"
      "  chain postrouting {{\n"
      "    type nat hook postrouting priority 100; policy accept;\n"
      "{}  }}\n"
      "}}\n",
      input, closed_rules(uplink), forward, masquerade);
}

std::string dhcp_config(const PlannedNetwork& network, const Ipam& ipam, const Uplink& uplink,
                        const std::filesystem::path& pid_file) {
  if (!network.has_dhcp) return {};
  // In a user namespace of one user dnsmasq fails when it gives up its groups (guest-facts section
  // 5); an empty group says that there is none to change to.
  std::string out = fmt::format(
      "interface={}\nexcept-interface=lo\nbind-interfaces\n"
      "no-hosts\nno-resolv\nno-ping\n"
      "leasefile-ro\ndhcp-authoritative\ndhcp-ignore=tag:!known\n"
      "pid-file={}\nuser=root\ngroup=\n",
      network.name, pid_file.string());
  if (has_snat(network) && !uplink.resolver.empty()) {
    out += fmt::format("server={}\n", uplink.resolver);
  }
  for (const auto& subnet : network.subnets) {
    out += range_line(subnet);
    if (!subnet.subnet.dns_server.empty()) {
      out += fmt::format("dhcp-option=option:dns-server,{}\n", subnet.subnet.dns_server);
    }
    out += reservations(subnet, ipam);
  }
  return out;
}

}  // namespace px::node
