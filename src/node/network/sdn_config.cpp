#include "node/network/sdn_config.hpp"

#include "node/vm/vm_config.hpp"
#include "support/bytes.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::node {

namespace {

std::string text(const json::object& object, std::string_view key) {
  return json::text_or(object, key);
}

json::object objects_to_json(const SdnObjects& objects) {
  json::object out;
  for (const auto& [id, object] : objects) out[id] = object;
  return out;
}

SdnObjects objects_from_json(const json::value& stored, std::string_view kind) {
  SdnObjects out;
  const auto* objects = json::find(stored, kind);
  if (objects == nullptr) return out;
  for (const auto& [id, object] : objects->as_object()) {
    out.emplace(std::string{id}, object.as_object());
  }
  return out;
}

const json::object& at(const SdnObjects& objects, const std::string& id, std::string_view kind) {
  const auto found = objects.find(id);
  if (found != objects.end()) return found->second;
  throw ApiError{500, fmt::format("sdn {}'{}' does not exist\n", kind, id)};
}

void check_unused(const SdnObjects& objects, const std::string& id, std::string_view kind) {
  if (!objects.contains(id)) return;
  throw ApiError{500, fmt::format("sdn {} object ID '{}' already defined\n", kind, id)};
}

void check_zone(const json::object& zone) {
  for (const auto* server : {"dns", "reversedns"}) {
    if (zone.contains(server)) {
      throw ApiError::parameter(server, fmt::format("{} don't exist", text(zone, server)));
    }
  }
  if (zone.contains("dnszone")) throw ApiError::parameter("dnszone", "missing dns server");
  if (zone.contains("ipam") && text(zone, "ipam") != "pve") {
    throw ApiError::parameter("ipam", fmt::format("{} not existing", text(zone, "ipam")));
  }
}

/// Of the zone that the VNet names (SimplePlugin.pm, VnetPlugin.pm).
void check_vnet(const SdnConfig& config, const std::string& id, const json::object& vnet) {
  if (!config.zones.contains(text(vnet, "zone"))) {
    throw ApiError{500, "cannot lookup undefined type!"};
  }
  if (vnet.contains("tag")) {
    throw ApiError::parameter("tag", "vlan tag is not allowed on simple zone");
  }
  if (json::flag_or(vnet, "vlanaware", false) && !subnets_of(config, id).empty()) {
    throw ApiError::parameter("vlanaware", "vlanaware vnet is not compatible with subnets");
  }
}

void merge(json::object& object, const json::object& change) {
  for (const auto& [key, value] : change) object[key] = value;
}

DhcpRange range_of(const std::string& text) {
  const Properties range{text};
  const auto address = [&](std::string_view key) {
    const auto value = range.get(key);
    const auto parsed = parse_ip(value);
    if (parsed) return *parsed;
    throw ApiError::parameter("dhcp-range", fmt::format("{} is not a valid IP {}", key, value));
  };
  return {address("start-address"), address("end-address")};
}

void check_range(const Subnet& subnet, const DhcpRange& range) {
  const auto first = range.first.to_string();
  const auto last = range.last.to_string();
  if (range.first > range.last) {
    throw ApiError::parameter(
        "dhcp-range",
        fmt::format("start-address {} must be smaller than end-address {}", first, last));
  }
  for (const auto& [key, address] :
       {std::pair{"start-address", range.first}, std::pair{"end-address", range.last}}) {
    if (subnet.cidr.contains(address)) continue;
    throw ApiError::parameter("dhcp-range", fmt::format("{} {} is not in subnet {}", key,
                                                        address.to_string(), subnet.cidr_text));
  }
}

void check_overlaps(const std::vector<DhcpRange>& ranges) {
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (ranges[i].last < ranges[j].first || ranges[j].last < ranges[i].first) continue;
      throw ApiError::parameter("dhcp-range", "dhcp ranges must not overlap");
    }
  }
}

void view_changes(json::object& out, const json::object& running, const json::object& written) {
  json::object pending;
  bool changed = false;
  out = running;
  for (const auto& [key, value] : running) {
    const auto* now = written.if_contains(key);
    changed = changed || now == nullptr || *now != value;
    if (now == nullptr) pending[key] = "deleted";
  }
  for (const auto& [key, value] : written) {
    const auto* old = running.if_contains(key);
    changed = changed || old == nullptr;
    if (key == "type" || key == "vnet") {
      out[key] = value;
    } else if (old == nullptr || *old != value) {
      pending[key] = value;
    }
  }
  if (!changed) return;
  out["state"] = running.empty() ? "new" : "changed";
  out["pending"] = std::move(pending);
}

}  // namespace

json::object SdnConfig::to_json() const {
  return {{"zones", objects_to_json(zones)},
          {"vnets", objects_to_json(vnets)},
          {"subnets", objects_to_json(subnets)}};
}

SdnConfig SdnConfig::from_json(const json::value& stored) {
  return {objects_from_json(stored, "zones"), objects_from_json(stored, "vnets"),
          objects_from_json(stored, "subnets")};
}

Subnet subnet_of(const std::string& id, const json::object& object) {
  Subnet subnet;
  subnet.id = id;
  subnet.zone = id.substr(0, id.find('-'));
  const auto prefix = id.rfind('-');
  const auto cidr =
      prefix == id.find('-') || prefix == std::string::npos
          ? std::string{}
          : fmt::format("{}/{}", id.substr(subnet.zone.size() + 1, prefix - subnet.zone.size() - 1),
                        id.substr(prefix + 1));
  const auto parsed = Cidr::parse(cidr);
  if (!parsed) throw ApiError{500, fmt::format("sdn subnet '{}' is no subnet\n", id)};
  subnet.cidr = *parsed;
  subnet.cidr_text = cidr;
  subnet.vnet = text(object, "vnet");
  subnet.gateway = text(object, "gateway");
  subnet.snat = json::flag_or(object, "snat", false);
  subnet.dns_server = text(object, "dhcp-dns-server");
  if (const auto* ranges = object.if_contains("dhcp-range")) {
    for (const auto& range : ranges->as_array()) {
      subnet.ranges.push_back(range_of(std::string{range.as_string()}));
    }
  }
  return subnet;
}

std::vector<Subnet> subnets_of(const SdnConfig& config, std::string_view vnet) {
  std::vector<Subnet> out;
  for (const auto& [id, object] : config.subnets) {
    if (text(object, "vnet") == vnet) out.push_back(subnet_of(id, object));
  }
  return out;
}

const Subnet& subnet_for(const std::vector<Subnet>& subnets, const std::string& ip) {
  const auto address = parse_ip(ip);
  const auto found = std::find_if(subnets.begin(), subnets.end(), [&](const Subnet& subnet) {
    return address && subnet.cidr.contains(*address);
  });
  if (found != subnets.end()) return *found;
  throw ApiError{500, fmt::format("can't find any subnet for ip {}", ip)};
}

const std::vector<Param>& zone_properties() {
  static const std::vector<Param> properties{{.name = "dhcp", .one_of = {"dnsmasq"}},
                                             {.name = "dns"},
                                             {.name = "dnszone"},
                                             {.name = "ipam"},
                                             {.name = "mtu", .type = ParamType::integer},
                                             {.name = "nodes"},
                                             {.name = "reversedns"}};
  return properties;
}

const std::vector<Param>& vnet_properties() {
  static const std::vector<Param> properties{
      {.name = "alias", .max_length = 256, .pattern = R"([\(\)-_.\w\d\s]{0,256})"},
      {.name = "isolate-ports", .type = ParamType::boolean},
      {.name = "tag", .type = ParamType::integer, .minimum = 1, .maximum = 16777215},
      {.name = "vlanaware", .type = ParamType::boolean},
      {.name = "zone"}};
  return properties;
}

const std::vector<Param>& subnet_properties() {
  static const std::vector<Param> properties{
      {.name = "dhcp-dns-server", .format = "ip"},
      {.name = "dhcp-range", .type = ParamType::array, .format = "pve-sdn-dhcp-range"},
      {.name = "dnszoneprefix"},
      {.name = "gateway", .format = "ip"},
      {.name = "snat", .type = ParamType::boolean}};
  return properties;
}

json::object object_of(const Call& call, const std::vector<Param>& properties) {
  json::object out;
  for (const auto& param : properties) {
    if (!call.has(param.name)) continue;
    switch (param.type) {
      case ParamType::boolean:
        out[param.name] = call.flag(param.name) ? 1 : 0;
        break;
      case ParamType::integer:
        out[param.name] = call.number(param.name);
        break;
      case ParamType::array: {
        json::array list;
        for (const auto& item : call.list(param.name)) list.emplace_back(item);
        out[param.name] = std::move(list);
        break;
      }
      case ParamType::number:
      case ParamType::string:
        out[param.name] = call.text(param.name);
        break;
    }
  }
  return out;
}

SdnObjects pending_view(const SdnObjects& running, const SdnObjects& written) {
  SdnObjects out;
  for (const auto& [id, object] : running) {
    if (written.contains(id)) continue;
    out[id] = object;
    out[id]["state"] = "deleted";
    out[id]["pending"] = json::object{};
  }
  for (const auto& [id, object] : written) {
    const auto applied = running.find(id);
    view_changes(out[id], applied == running.end() ? json::object{} : applied->second, object);
  }
  return out;
}

std::string digest_of(const SdnObjects& objects) {
  return sha256_hex(boost::json::serialize(objects_to_json(objects))).substr(0, 40);
}

void add_zone(SdnConfig& config, const std::string& id, json::object zone) {
  check_unused(config.zones, id, "zone");
  check_zone(zone);
  zone["type"] = "simple";
  config.zones[id] = std::move(zone);
}

void change_zone(SdnConfig& config, const std::string& id, json::object change,
                 const std::vector<std::string>& removed) {
  json::object zone = zone_at(config.zones, id);
  const auto old_ipam = text(zone, "ipam");
  remove_properties(zone, change, removed, zone_properties());
  merge(zone, change);
  const bool has_subnets = std::any_of(
      config.subnets.begin(), config.subnets.end(),
      [&](const auto& subnet) { return subnet_of(subnet.first, subnet.second).zone == id; });
  if (has_subnets && text(zone, "ipam") != old_ipam) {
    throw ApiError::parameter("ipam",
                              "can't change ipam if a subnet is already defined in this zone");
  }
  check_zone(change);
  config.zones[id] = std::move(zone);
}

void remove_zone(SdnConfig& config, const std::string& id) {
  zone_at(config.zones, id);
  for (const auto& [vnet, object] : config.vnets) {
    if (text(object, "zone") != id) continue;
    throw ApiError{500, fmt::format("zone {} is used by vnet {}", id, vnet)};
  }
  config.zones.erase(id);
}

void add_vnet(SdnConfig& config, const std::string& id, json::object vnet) {
  check_unused(config.vnets, id, "vnet");
  check_vnet(config, id, vnet);
  vnet["type"] = "vnet";
  config.vnets[id] = std::move(vnet);
}

void change_vnet(SdnConfig& config, const std::string& id, json::object change,
                 const std::vector<std::string>& removed) {
  json::object vnet = vnet_at(config.vnets, id);
  const auto old_zone = text(vnet, "zone");
  if (std::find(removed.begin(), removed.end(), "zone") != removed.end()) {
    throw ApiError{500, "unable to delete required option 'zone'\n"};
  }
  remove_properties(vnet, change, removed, vnet_properties());
  merge(vnet, change);
  if (text(vnet, "zone") != old_zone && !subnets_of(config, id).empty()) {
    throw ApiError::parameter("zone", "can't change zone if subnets exist");
  }
  check_vnet(config, id, vnet);
  config.vnets[id] = std::move(vnet);
}

void remove_vnet(SdnConfig& config, const std::string& id) {
  vnet_at(config.vnets, id);
  if (!subnets_of(config, id).empty()) {
    throw ApiError::parameter("vnet", "Can't delete vnet if subnets exists");
  }
  config.vnets.erase(id);
}

const json::object& zone_at(const SdnObjects& zones, const std::string& id) {
  return at(zones, id, "");
}
const json::object& vnet_at(const SdnObjects& vnets, const std::string& id) {
  return at(vnets, id, "vnet ");
}
const json::object& subnet_at(const SdnObjects& subnets, const std::string& id) {
  return at(subnets, id, "subnet ");
}

void remove_properties(json::object& object, const json::object& change,
                       const std::vector<std::string>& removed,
                       const std::vector<Param>& properties) {
  for (const auto& name : removed) {
    const bool known = std::any_of(properties.begin(), properties.end(),
                                   [&](const Param& property) { return property.name == name; });
    if (!known) throw ApiError{500, fmt::format("no such option '{}'\n", name)};
    if (change.contains(name)) {
      throw ApiError{500,
                     fmt::format("cannot set and delete property '{}' at the same time!\n", name)};
    }
    object.erase(name);
  }
}

void check_subnet(const SdnConfig& config, const std::string& id, const json::object& object) {
  const Subnet subnet = subnet_of(id, object);
  const auto& vnet = vnet_at(config.vnets, subnet.vnet);
  if (json::flag_or(vnet, "vlanaware", false)) {
    throw ApiError::parameter("vnet", "you can't add a subnet on a vlanaware vnet");
  }
  // A network of one address is a point-to-point link, whose gateway is elsewhere.
  const bool point_to_point = subnet.cidr.is_v4() && subnet.cidr.prefix == 32;
  const auto gateway = parse_ip(subnet.gateway);
  if (gateway && !subnet.cidr.contains(*gateway) && !point_to_point) {
    throw ApiError::parameter(
        "gateway", fmt::format("{} is not in subnet {}", subnet.gateway, subnet.cidr_text));
  }
  for (const auto& range : subnet.ranges) check_range(subnet, range);
  check_overlaps(subnet.ranges);
}

}  // namespace px::node
