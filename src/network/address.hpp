#pragma once
#include <boost/asio/ip/address.hpp>

#include <string>
#include <string_view>

/// IP addresses and networks, of both families.
namespace px::network {

using Address = boost::asio::ip::address;

/// Throws Error{bad_input} naming the field.
Address parse_address(std::string_view field, std::string_view text);

/// A network: an address without host bits, and how many of its bits are the network's.
class Cidr {
 public:
  /// "192.168.2.0/24", "fd00::/64". Throws Error{bad_input} naming the field; host bits are a
  /// mistake, for the server would take 10.0.0.1/24 and 10.0.0.0/24 for two (pve-facts section 11).
  static Cidr parse(std::string_view field, std::string_view text);
  /// The network that an interface's "10.99.0.2/24" is in.
  static Cidr around(std::string_view field, std::string_view text);

  const Address& first() const noexcept { return first_; }
  const Address& last() const noexcept { return last_; }
  bool contains(const Address& address) const;
  bool overlaps(const Cidr& other) const;
  /// False for the network's own address and for IPv4's broadcast address, which no host can have.
  bool can_be_a_host(const Address& address) const;
  std::string text() const;

  friend bool operator==(const Cidr&, const Cidr&) = default;

 private:
  Cidr(Address first, Address last, int bits) : first_{first}, last_{last}, bits_{bits} {}
  Address first_;
  Address last_;
  int bits_;
};

/// "bc:24:11:00:00:01" in the server's spelling, upper case. Throws Error{bad_input} naming the
/// field; a group address is none of a card's.
std::string parse_mac(std::string_view field, std::string_view text);
/// One of our own, under the prefix that Proxmox VE has registered: BC:24:11.
std::string random_mac();

}  // namespace px::network
