#include "node/firewall/firewall_rules.hpp"

#include "node/network/sdn.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace px::node {

namespace {

/// Types of rules by place.
const std::map<RulePlace, std::vector<std::string_view>> rule_types{
    {RulePlace::vm, {"in", "out", "group"}},
    {RulePlace::group, {"in", "out", "forward"}},
    {RulePlace::vnet, {"forward", "group"}}};

std::string_view env_of(RulePlace place) {
  switch (place) {
    case RulePlace::vm:
      return "vm";
    case RulePlace::group:
      return "group";
    case RulePlace::vnet:
      return "vnet";
  }
  return "";
}

bool is_one_of(std::string_view word, const std::vector<std::string_view>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

void check_type(const json::object& rule, RulePlace place) {
  const auto type = json::text_or(rule, "type");
  const auto action = json::text_or(rule, "action");
  if (!is_one_of(type, rule_types.at(place))) {
    throw ApiError::parameter(
        "type", fmt::format("invalid rule type '{}' for rule_env '{}'", type, env_of(place)));
  }
  if (type == "group") return;
  if (type == "forward" && action == "REJECT") {
    throw ApiError::parameter("action", "cannot define REJECT rules on forward chain");
  }
  if (!is_one_of(action, {"ACCEPT", "DROP", "REJECT"})) {
    throw ApiError::parameter("action", fmt::format("unknown action '{}'", action));
  }
}

void check_interface(const json::object& rule, RulePlace place) {
  if (!rule.contains("iface")) return;
  if (place != RulePlace::vm) {
    throw ApiError::parameter("type", "parameter -i not allowed for this rule type");
  }
  if (!is_nic_option(json::text_at(rule, "iface"))) {
    throw ApiError::parameter("iface", "value does not match the regex pattern 'net\\d+'");
  }
}

/// What the local node can't filter by; the real server can.
void check_offered(const json::object& rule) {
  for (const auto* name : {"macro", "icmp-type"}) {
    if (!rule.contains(name)) continue;
    throw ApiError{501, fmt::format("the local node's firewall has no rules with '{}'", name)};
  }
}

/// Collects the IP version that all parts of a rule must share.
class Version {
 public:
  void set(int version, const char* parameter) {
    if (version == 0) return;
    if (version_ != 0 && version != version_) {
      throw ApiError::parameter(parameter, "detected mixed ipv4/ipv6 addresses in rule");
    }
    version_ = version;
  }
  int get() const { return version_; }

 private:
  int version_ = 0;
};

void check_protocol(const json::object& rule, Version& version) {
  const auto protocol = json::text_or(rule, "proto");
  if (protocol == "icmp") version.set(4, "proto");
  if (protocol == "icmpv6" || protocol == "ipv6-icmp") version.set(6, "proto");
  for (const auto* ports : {"dport", "sport"}) {
    if (!rule.contains(ports)) continue;
    if (protocol.empty()) {
      throw ApiError::parameter(
          "proto", fmt::format("missing property - '{}' requires this property", ports));
    }
    if (!protocol_has_ports(protocol_number(protocol).value_or(0))) {
      throw ApiError::parameter(ports,
                                fmt::format("protocol '{}' does not support ports", protocol));
    }
  }
}

void check_address(const json::object& rule, const char* name, const FirewallFile& datacenter,
                   const FirewallFile* own, Version& version) {
  if (!rule.contains(name)) return;
  const auto text = json::text_at(rule, name);
  const auto spec = parse_address_spec(text);
  version.set(spec.version, name);
  if (spec.kind == AddressSpec::Kind::ipset) {
    if (spec.name.empty()) {
      throw ApiError::parameter(name, fmt::format("invalid ipset name '{}'", text));
    }
    if (find_ipset(spec, datacenter, own) == nullptr) {
      throw ApiError::parameter(name, fmt::format("no such ipset '{}'", spec.name));
    }
  } else if (spec.kind == AddressSpec::Kind::alias) {
    const auto* alias = find_alias(spec, datacenter, own);
    if (alias == nullptr) throw ApiError::parameter(name, fmt::format("no such alias '{}'", text));
    version.set(ip_version_of(json::text_at(*alias, "cidr")), name);
  }
}

template <class Map>
const typename Map::mapped_type* find_scoped(const AddressSpec& spec, Map FirewallFile::* map,
                                             const FirewallFile& datacenter,
                                             const FirewallFile* own) {
  if (own != nullptr && (spec.scope.empty() || spec.scope == "guest")) {
    if (const auto it = (own->*map).find(spec.name); it != (own->*map).end()) return &it->second;
  }
  if (spec.scope.empty() || spec.scope == "dc") {
    const auto it = (datacenter.*map).find(spec.name);
    if (it != (datacenter.*map).end()) return &it->second;
  }
  return nullptr;
}

}  // namespace

const std::vector<Param>& rule_properties() {
  using enum ParamType;
  static const std::vector<Param> params{
      {.name = "type", .one_of = {"in", "out", "forward", "group"}},
      {.name = "action", .max_length = 20, .pattern = "[A-Za-z][A-Za-z0-9\\-_]+"},
      {.name = "enable", .type = integer, .minimum = 0},
      {.name = "comment"},
      {.name = "source", .max_length = 512, .format = "pve-fw-addr-spec"},
      {.name = "dest", .max_length = 512, .format = "pve-fw-addr-spec"},
      {.name = "proto", .format = "pve-fw-protocol-spec"},
      {.name = "sport", .format = "pve-fw-sport-spec"},
      {.name = "dport", .format = "pve-fw-dport-spec"},
      {.name = "iface", .max_length = 20, .format = "pve-iface"},
      {.name = "log",
       .one_of = {"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"}},
      {.name = "macro", .max_length = 128},
      {.name = "icmp-type", .format = "pve-fw-icmp-type-spec"}};
  return params;
}

void set_rule_properties(json::object& rule, const Call& call) {
  for (auto& [name, value] : object_of(call, rule_properties())) {
    if (value.is_string() && (value.get_string().empty() || value.get_string() == "-")) {
      rule.erase(name);
    } else {
      rule[name] = value;
    }
  }
}

void remove_rule_properties(json::object& rule, const std::vector<std::string>& names) {
  const auto& known = rule_properties();
  for (const auto& name : names) {
    const bool is_known = std::any_of(known.begin(), known.end(),
                                      [&](const Param& param) { return param.name == name; });
    if (!is_known) {
      throw ApiError::parameter("delete", fmt::format("no such property ('{}')", name));
    }
    if (name == "type" || name == "action") {
      throw ApiError::parameter("delete",
                                fmt::format("unable to delete required property '{}'", name));
    }
    rule.erase(name);
  }
}

void check_rule(json::object& rule, RulePlace place, const FirewallFile& datacenter,
                const FirewallFile* own) {
  check_type(rule, place);
  check_interface(rule, place);
  check_offered(rule);
  Version version;
  check_protocol(rule, version);
  check_address(rule, "source", datacenter, own, version);
  check_address(rule, "dest", datacenter, own, version);
  rule.erase("ipversion");
  if (version.get() != 0) rule["ipversion"] = version.get();
  if (json::text_at(rule, "type") != "group") return;
  for (const auto* name : {"source", "dest", "proto", "sport", "dport", "log", "ipversion"}) {
    rule.erase(name);
  }
}

const json::object* find_alias(const AddressSpec& spec, const FirewallFile& datacenter,
                               const FirewallFile* own) {
  return find_scoped(spec, &FirewallFile::aliases, datacenter, own);
}

const IpSet* find_ipset(const AddressSpec& spec, const FirewallFile& datacenter,
                        const FirewallFile* own) {
  return find_scoped(spec, &FirewallFile::ipsets, datacenter, own);
}

}  // namespace px::node
