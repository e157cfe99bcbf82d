#pragma once
#include "node/network/sdn_config.hpp"

#include <map>
#include <string>

namespace px::node {

/// The built-in IPAM: which addresses are taken, by whom. Pure.
///
/// It keeps what the real one keeps, its oddities included: a MAC's address is what was written
/// for it last, also where an older booking of that MAC stays behind as an orphan (pve-practice
/// section 4). (pve-network Ipams.pm, Ipams/PVEPlugin.pm)
class Ipam {
 public:
  struct Booking {
    bool gateway = false;
    int vmid = 0;          ///< 0 = none
    std::string hostname;  ///< empty = none
    std::string mac;       ///< empty = none
  };
  struct MacAddresses {
    std::string v4;
    std::string v6;
  };
  using Addresses = std::map<std::string, Booking>;
  using Networks = std::map<std::string, Addresses>;

  void add_subnet(const Subnet& subnet);
  /// Throws ApiError 500 while more than its gateway is booked.
  void remove_subnet(const Subnet& subnet);

  /// Throws ApiError 500 "IP '...' already exist"; a gateway may be booked again.
  void add(const Subnet& subnet, const std::string& ip, const Booking& booking);
  /// Throws ApiError 500 when it is not booked. `mac` forgets its address, whichever it is.
  void remove(const Subnet& subnet, const std::string& ip, const std::string& mac);
  /// The first free address of the DHCP ranges, or, where there are none, of the subnet; empty when
  /// there is none. Throws ApiError 500 when a subnet without ranges is full.
  std::string add_next_free(const Subnet& subnet, const Booking& booking);

  /// The addresses of a MAC, as last written; looks into the zone's bookings when none is known.
  MacAddresses of_mac(const std::string& mac, const std::string& zone) const;

  /// By zone, then by subnet.
  const std::map<std::string, Networks>& zones() const noexcept { return zones_; }

  json::object to_json() const;
  static Ipam from_json(const json::value& stored);

 private:
  Addresses& addresses_of(const Subnet& subnet);
  std::string take(const Subnet& subnet, IpAddress first, const IpAddress& last,
                   const Booking& booking);
  void remember(const std::string& mac, const std::string& ip);

  std::map<std::string, Networks> zones_;
  std::map<std::string, MacAddresses> macs_;
};

}  // namespace px::node
