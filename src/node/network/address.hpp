#pragma once
#include <boost/asio/ip/address.hpp>

#include <optional>
#include <string>
#include <string_view>

/// IP addresses and ranges as the SDN configuration writes them.
namespace px::node {

using IpAddress = boost::asio::ip::address;

/// Nothing for what is no plain IPv4 or IPv6 address (a scope, `fe80::1%eth0`, is none).
std::optional<IpAddress> parse_ip(std::string_view text);

/// `10.20.0.0/24`. Host bits stay as they are written: Proxmox VE does not refuse them (exchange
/// 12).
struct Cidr {
  IpAddress address;
  int prefix = 0;

  /// Prefixes of 8 to 32 (IPv4) or 128 (pve-common JSONSchema.pm, pve_verify_cidrv4 and v6).
  static std::optional<Cidr> parse(std::string_view text);
  std::string print() const;
  bool is_v4() const { return address.is_v4(); }
  bool contains(const IpAddress& other) const;
  /// The address with the host bits at zero.
  IpAddress network() const;
  /// The last address that a host can have: the one before the broadcast address. A network of
  /// one or two addresses has no broadcast.
  IpAddress last_host() const;
};

/// The address after this one; wraps at the end of the address space.
IpAddress next(const IpAddress& address);

}  // namespace px::node
