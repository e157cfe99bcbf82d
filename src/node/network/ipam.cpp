#include "node/network/ipam.hpp"

#include <fmt/format.h>

namespace px::node {

namespace {

bool is_v4(const std::string& ip) {
  return ip.find(':') == std::string::npos;
}

json::object booking_to_json(const Ipam::Booking& booking) {
  json::object out;
  if (booking.gateway) out["gateway"] = 1;
  if (booking.vmid > 0) out["vmid"] = booking.vmid;
  if (!booking.hostname.empty()) out["hostname"] = booking.hostname;
  if (!booking.mac.empty()) out["mac"] = booking.mac;
  return out;
}

Ipam::Booking booking_from_json(const json::value& stored) {
  return {json::flag_or(stored, "gateway", false),
          static_cast<int>(json::number_or(stored, "vmid", 0)), json::text_or(stored, "hostname"),
          json::text_or(stored, "mac")};
}

/// The written form of an address: short, lower case.
std::string canonical(const std::string& ip) {
  const auto address = parse_ip(ip);
  return address ? address->to_string() : ip;
}

}  // namespace

Ipam::Addresses& Ipam::addresses_of(const Subnet& subnet) {
  const auto zone = zones_.find(subnet.zone);
  if (zone == zones_.end()) {
    throw ApiError{500, fmt::format("zone '{}' doesn't exist in IPAM DB\n", subnet.zone)};
  }
  const auto network = zone->second.find(subnet.cidr_text);
  if (network == zone->second.end()) {
    throw ApiError{500, fmt::format("subnet '{}' doesn't exist in IPAM DB\n", subnet.cidr_text)};
  }
  return network->second;
}

void Ipam::add_subnet(const Subnet& subnet) {
  zones_[subnet.zone][subnet.cidr_text];
}

void Ipam::remove_subnet(const Subnet& subnet) {
  const auto& addresses = addresses_of(subnet);
  const bool only_gateway = addresses.size() == 1 && addresses.begin()->second.gateway;
  if (!addresses.empty() && !only_gateway) {
    throw ApiError{500, fmt::format("cannot delete subnet '{}', not empty\n", subnet.cidr_text)};
  }
  zones_[subnet.zone].erase(subnet.cidr_text);
}

void Ipam::add(const Subnet& subnet, const std::string& ip, const Booking& booking) {
  auto& addresses = addresses_of(subnet);
  const auto key = canonical(ip);
  const auto taken = addresses.find(key);
  if (taken != addresses.end() && !(booking.gateway && taken->second.gateway)) {
    throw ApiError{500, fmt::format("IP '{}' already exist\n", key)};
  }
  addresses[key] = booking;
  remember(booking.mac, key);
}

void Ipam::remove(const Subnet& subnet, const std::string& ip, const std::string& mac) {
  const auto key = canonical(ip);
  if (addresses_of(subnet).erase(key) == 0) {
    throw ApiError{500, fmt::format("IP '{}' does not exist in IPAM DB\n", key)};
  }
  const auto known = macs_.find(mac);
  if (known == macs_.end()) return;
  (is_v4(key) ? known->second.v4 : known->second.v6).clear();
  if (known->second.v4.empty() && known->second.v6.empty()) macs_.erase(known);
}

std::string Ipam::take(const Subnet& subnet, IpAddress first, const IpAddress& last,
                       const Booking& booking) {
  auto& addresses = addresses_of(subnet);
  for (auto address = first; address <= last; address = next(address)) {
    const auto key = address.to_string();
    if (addresses.contains(key)) {
      if (address == last) break;
      continue;
    }
    addresses[key] = booking;
    remember(booking.mac, key);
    return key;
  }
  return {};
}

std::string Ipam::add_next_free(const Subnet& subnet, const Booking& booking) {
  for (const auto& range : subnet.ranges) {
    auto ip = take(subnet, range.first, range.last, booking);
    if (!ip.empty()) return ip;
  }
  if (!subnet.ranges.empty()) return {};
  // The network's own address is no host's; of a network of one address it is the only one.
  const bool single = subnet.cidr.is_v4() && subnet.cidr.prefix == 32;
  const auto first =
      subnet.cidr.is_v4() && !single ? next(subnet.cidr.address) : subnet.cidr.address;
  auto ip = take(subnet, first, subnet.cidr.last_host(), booking);
  if (ip.empty()) {
    throw ApiError{500, fmt::format("can't find free ip in subnet '{}'\n", subnet.cidr_text)};
  }
  return ip;
}

void Ipam::remember(const std::string& mac, const std::string& ip) {
  if (mac.empty()) return;
  auto& known = macs_[mac];
  (is_v4(ip) ? known.v4 : known.v6) = ip;
}

Ipam::MacAddresses Ipam::of_mac(const std::string& mac, const std::string& zone) const {
  if (const auto known = macs_.find(mac); known != macs_.end()) return known->second;
  MacAddresses out;
  const auto networks = zones_.find(zone);
  if (mac.empty() || networks == zones_.end()) return out;
  for (const auto& [cidr, addresses] : networks->second) {
    for (const auto& [ip, booking] : addresses) {
      if (booking.mac == mac) (is_v4(ip) ? out.v4 : out.v6) = ip;
    }
  }
  return out;
}

json::object Ipam::to_json() const {
  json::object zones;
  for (const auto& [zone, networks] : zones_) {
    json::object subnets;
    for (const auto& [cidr, addresses] : networks) {
      json::object bookings;
      for (const auto& [ip, booking] : addresses) bookings[ip] = booking_to_json(booking);
      subnets[cidr] = std::move(bookings);
    }
    zones[zone] = std::move(subnets);
  }
  json::object macs;
  for (const auto& [mac, known] : macs_) macs[mac] = {{"ip4", known.v4}, {"ip6", known.v6}};
  return {{"zones", std::move(zones)}, {"macs", std::move(macs)}};
}

Ipam Ipam::from_json(const json::value& stored) {
  Ipam out;
  for (const auto& [zone, subnets] : stored.at("zones").as_object()) {
    auto& networks = out.zones_[std::string{zone}];
    for (const auto& [cidr, bookings] : subnets.as_object()) {
      auto& addresses = networks[std::string{cidr}];
      for (const auto& [ip, booking] : bookings.as_object()) {
        addresses[std::string{ip}] = booking_from_json(booking);
      }
    }
  }
  for (const auto& [mac, known] : stored.at("macs").as_object()) {
    out.macs_[std::string{mac}] = {json::text_or(known, "ip4"), json::text_or(known, "ip6")};
  }
  return out;
}

}  // namespace px::node
