#pragma once
#include "network/address.hpp"
#include "network/isolation.hpp"

#include <boost/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What networks a sample asks for, read from its configuration and checked. Pure: nothing here
/// knows a server.
namespace px::network {

struct DhcpRange {
  Address start;
  Address end;
};

/// Option and value, as the API takes them.
using NativeOptions = std::vector<std::pair<std::string, std::string>>;

struct PlannedSubnet {
  Cidr cidr;
  Address gateway;
  bool snat = false;
  std::vector<DhcpRange> dhcp_ranges{};
  NativeOptions options{};
};

struct PlannedVnet {
  std::string alias;  ///< empty: none can name it
  std::vector<PlannedSubnet> subnets{};
  NativeOptions options{};
};

/// The networks of one sample.
struct Plan {
  /// One VNet whose range is chosen when it is made (with_range()).
  bool automatic = false;
  /// Addresses by Proxmox VE's IPAM and dnsmasq.
  bool dhcp = false;
  std::vector<PlannedVnet> vnets{};  ///< empty: `sdn_config` is None
  Isolation isolation{};
  NativeOptions zone_options{};

  /// Plans with the same key can take each other's networks.
  std::string key() const;
  /// Two sets of these at once on one server would kill each other's gateways (pve-practice
  /// section 5).
  bool has_fixed_ranges() const noexcept;
};

/// Whether a card in this VNet of the plan is given an IPv4 address.
bool gives_ipv4(const Plan& plan, const PlannedVnet& vnet);
/// What the rules of a VNet's cards are made of.
std::vector<WireSubnet> wire_of(const Plan& plan, const PlannedVnet& vnet);

/// Reads `sdn_config`: "auto", null, or an SdnConfig. Throws Error{bad_input} naming field and
/// value, Error{unsupported} for what this version can't do.
Plan parse_plan(const boost::json::value& sdn_config);

/// A network card as a configuration gives it.
struct NicConfig {
  std::string vnet_alias;
  std::optional<std::string> mac;
  std::optional<std::string> ipv4;
};
template <class V>
void describe(V& visit, NicConfig& nic) {
  visit("vnet_alias", nic.vnet_alias);
  visit("mac", nic.mac);
  visit("ipv4", nic.ipv4);
}

/// A network card of a VM, and the network that it is in.
struct Card {
  std::string field;                ///< of the configuration, for messages
  std::optional<std::size_t> vnet;  ///< index into Plan::vnets
  std::string alias{};              ///< without one: of a VNet that the server has
  std::string mac{};                ///< upper case; empty: the server chooses
  std::optional<Address> ipv4{};    ///< to be booked for the MAC
};

/// Finds a card's network. An alias that the plan lacks is one of the server's.
Card plan_card(const Plan& plan, const std::string& field, const NicConfig& nic);
/// The card of a VM that names none.
Card first_card(const std::string& field);
/// Checks all cards of a sample beside each other: no MAC and no address twice.
void check_cards(const Plan& plan, const std::vector<Card>& cards);

/// --- "auto" ------------------------------------------------------------------------------------

/// A plan whose automatic VNet has 192.168.`octet`.0/24, gateway .1, DHCP .50-.100, SNAT.
Plan with_range(const Plan& plan, int octet);
/// Up to `count` octets of 2..253 whose range touches none of `taken`, upwards from `start`, round.
std::vector<int> free_octets(const std::vector<Cidr>& taken, std::size_t count, int start);

/// --- names and marks ---------------------------------------------------------------------------

/// Up to three letters of a task's name, lower case: `abc`; `px` for a name without letters.
std::string stem_of(std::string_view task);
/// `abc123`, the prefix of a zone (`abc123z`) and its VNets (`abc123v0`...).
std::string prefix_of(std::string_view stem, int number);
std::string zone_name(std::string_view prefix);
std::string vnet_name(std::string_view prefix, std::size_t index);
/// The prefix of a zone that is named as ours are, and as the existing provider's were; empty for
/// others, among them its permanent `inspvmz`.
std::string prefix_of_zone(std::string_view zone);

/// A VNet's alias on the server: the configuration's, as far as the server takes its characters,
/// and the run: "lan [inspect-run-1a2b3c4d]". A zone can carry no mark (pve-practice section 7).
std::string mark_alias(std::string_view alias, std::string_view run);
/// The run in such an alias, if there is one.
std::optional<std::string> run_of_alias(std::string_view alias);

}  // namespace px::network
