#include "node/firewall/firewall_syntax.hpp"

#include "node/network/address.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace px::node {

namespace {

constexpr std::size_t longest_name = 64;
constexpr int highest_port = 65535;
constexpr int most_ports = 15;

/// The names of Debian's /etc/protocols that a rule is likely to use; numbers serve the rest.
/// `icmpv6` is Proxmox VE's own.
constexpr std::array<std::pair<std::string_view, int>, 17> known_protocols{{{"icmp", 1},
                                                                            {"igmp", 2},
                                                                            {"ipencap", 4},
                                                                            {"tcp", 6},
                                                                            {"udp", 17},
                                                                            {"dccp", 33},
                                                                            {"ipv6", 41},
                                                                            {"gre", 47},
                                                                            {"esp", 50},
                                                                            {"ah", 51},
                                                                            {"ipv6-icmp", 58},
                                                                            {"icmpv6", 58},
                                                                            {"ospf", 89},
                                                                            {"pim", 103},
                                                                            {"vrrp", 112},
                                                                            {"sctp", 132},
                                                                            {"udplite", 136}}};

bool is_name(std::string_view text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return text.size() >= 2 && is_letter(text.front()) &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_';
         });
}

std::optional<int> to_number(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || text.front() == '-' || error != std::errc{} ||
      end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

/// `dc/name`, `guest/name` or `name`, by what may stand before the slash.
std::optional<std::pair<std::string, std::string>> scoped_name(std::string_view text, bool sdn) {
  std::string scope;
  for (const std::string_view prefix : {"dc/", "guest/", "sdn/"}) {
    if (!text.starts_with(prefix) || (prefix == "sdn/" && !sdn)) continue;
    scope = prefix.substr(0, prefix.size() - 1);
    text.remove_prefix(prefix.size());
    break;
  }
  if (!is_name(text)) return std::nullopt;
  return std::pair{scope, std::string{text}};
}

/// In the words of Perl's Net::IP.
std::string address_problem(const std::string& text) {
  if (parse_ip(text)) return {};
  const bool v6 = text.find(':') != std::string::npos;
  if (!v6 && text.find_first_not_of("0123456789.") != std::string::npos) {
    return "Invalid chars in IP " + text;
  }
  return "Invalid IP address " + text;
}

/// The host bits of a network, one digit each; empty when they are all zero.
std::string host_bits(const Cidr& cidr) {
  if (cidr.network() == cidr.address) return {};
  std::string bits;
  const auto add = [&bits](const auto& bytes) {
    for (const auto byte : bytes) bits += fmt::format("{:08b}", byte);
  };
  if (cidr.is_v4()) {
    add(cidr.address.to_v4().to_bytes());
  } else {
    add(cidr.address.to_v6().to_bytes());
  }
  return bits.substr(static_cast<std::size_t>(cidr.prefix));
}

/// Any prefix, unlike Cidr::parse(), which knows what a subnet can be.
std::optional<Cidr> parse_prefix(const std::string& text) {
  const auto slash = text.find('/');
  const auto address = parse_ip(text.substr(0, slash));
  if (!address) return std::nullopt;
  const int longest = address->is_v4() ? 32 : 128;
  if (slash == std::string::npos) return Cidr{*address, longest};
  const auto prefix = to_number(std::string_view{text}.substr(slash + 1));
  if (!prefix || *prefix > longest) return std::nullopt;
  return Cidr{*address, *prefix};
}

std::string element_problem(const std::string& element) {
  if (const auto dash = element.find('-'); dash != std::string::npos) {
    for (const auto& end : {element.substr(0, dash), element.substr(dash + 1)}) {
      if (auto problem = address_problem(end); !problem.empty()) return problem;
    }
    const auto first = *parse_ip(element.substr(0, dash));
    const auto last = *parse_ip(element.substr(dash + 1));
    if (first.is_v4() != last.is_v4() || last < first) {
      return "Begin address is greater than End address " + element;
    }
    return {};
  }
  if (auto problem = address_problem(element.substr(0, element.find('/'))); !problem.empty()) {
    return problem;
  }
  const auto cidr = parse_prefix(element);
  if (!cidr) return "Invalid prefix length " + element.substr(element.find('/'));
  if (const auto bits = host_bits(*cidr); !bits.empty()) {
    return fmt::format("Invalid prefix {}/{}", bits, cidr->prefix);
  }
  return {};
}

std::string address_spec_problem(const std::string& text) {
  if (text.starts_with('+') && text.find_first_of(" \t\n") == std::string::npos &&
      text.size() > 1) {
    return text.size() > longest_name + 1 ? "ipset name too long\n" : "";
  }
  if (scoped_name(text, false)) return text.size() > longest_name ? "alias name too long\n" : "";
  if (text.ends_with(',')) return "extraneous commas in list\n";
  const auto elements = split_commas(text);
  int version = 0;
  for (const auto& element : elements) {
    if (const auto problem = element_problem(element); !problem.empty()) {
      return fmt::format("invalid IP address: {}\n", problem);
    }
    const int own = ip_version_of(element);
    if (version != 0 && own != version) {
      return fmt::format("detected mixed ipv4/ipv6 addresses in address list '{}'\n", text);
    }
    version = own;
  }
  if (elements.size() > 1 && text.find('-') != std::string::npos) {
    return "you can't use a range in a list\n";
  }
  return {};
}

std::string port_spec_problem(const std::string& text) {
  if (text.ends_with(',')) return "extraneous commas in list\n";
  int count = 0;
  for (const auto& item : split_commas(text)) {
    const auto colon = item.find(':');
    const auto first = to_number(item.substr(0, colon));
    const auto last =
        colon == std::string::npos ? first : to_number(std::string_view{item}.substr(colon + 1));
    if (!first || !last) {
      return fmt::format("invalid port '{}': the local node knows ports by number only\n", item);
    }
    for (const int port : {*first, *last}) {
      if (port > highest_port) return fmt::format("invalid port '{}'\n", port);
    }
    if (*first > *last) {
      return fmt::format("backwards range '{0}:{1}' not allowed, did you mean '{1}:{0}'?\n", *first,
                         *last);
    }
    count += colon == std::string::npos ? 1 : 2;
  }
  if (count > most_ports) return "too many entries in port list (> 15 numbers)\n";
  return {};
}

std::string ip_or_cidr_problem(const std::string& text) {
  if (parse_prefix(text)) return {};
  return "value does not look like a valid IP address or CIDR network\n";
}

std::string interface_problem(const std::string& text) {
  const auto base = text.substr(0, text.find_first_of(":."));
  const auto number = base.size() == text.size() ? "0" : text.substr(base.size() + 1);
  const bool good = is_name(base) && base.find('-') == std::string::npos && base.size() <= 21 &&
                    to_number(number).has_value();
  return good ? "" : fmt::format("invalid network interface name '{}'\n", text);
}

}  // namespace

std::vector<std::string> split_commas(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const auto comma = std::min(text.find(',', at), text.size());
    out.emplace_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return out;
}

std::string firewall_format_problem(const std::string& format, const std::string& value) {
  if (format == "pve-fw-addr-spec") return address_spec_problem(value);
  if (format == "pve-fw-sport-spec" || format == "pve-fw-dport-spec") {
    return port_spec_problem(value);
  }
  if (format == "pve-fw-protocol-spec") {
    if (value.empty() || protocol_number(value)) return {};
    return fmt::format("unknown protocol '{}'\n", value);
  }
  if (format == "IPorCIDR") return ip_or_cidr_problem(value);
  if (format == "IPorCIDRorAlias") {
    return scoped_name(value, false) ? "" : ip_or_cidr_problem(value);
  }
  if (format == "pve-iface") return interface_problem(value);
  return {};
}

int ip_version_of(std::string_view cidr) {
  return cidr.find(':') == std::string_view::npos ? 4 : 6;
}

AddressSpec parse_address_spec(const std::string& text) {
  AddressSpec out;
  if (text.starts_with('+')) {
    out.kind = AddressSpec::Kind::ipset;
    if (const auto named = scoped_name(std::string_view{text}.substr(1), true)) {
      std::tie(out.scope, out.name) = *named;
    }
    return out;
  }
  if (const auto named = scoped_name(text, false)) {
    out.kind = AddressSpec::Kind::alias;
    out.scope = named->first;
    out.name = boost::algorithm::to_lower_copy(named->second);
    return out;
  }
  out.elements = split_commas(text);
  out.version = ip_version_of(text);
  return out;
}

std::string clean_cidr(const std::string& text) {
  const auto cidr = parse_prefix(text);
  if (!cidr) return text;
  const bool is_host = cidr->prefix == (cidr->is_v4() ? 32 : 128);
  return is_host ? cidr->address.to_string() : Cidr{cidr->network(), cidr->prefix}.print();
}

std::optional<int> protocol_number(const std::string& text) {
  const auto known = std::find_if(known_protocols.begin(), known_protocols.end(),
                                  [&](const auto& protocol) { return protocol.first == text; });
  if (known != known_protocols.end()) return known->second;
  const auto number = to_number(text);
  return number && *number <= 255 ? number : std::nullopt;
}

bool protocol_has_ports(int protocol) {
  constexpr std::array with_ports{6, 17, 33, 132, 136};
  return std::find(with_ports.begin(), with_ports.end(), protocol) != with_ports.end();
}

}  // namespace px::node
