#pragma once
#include "node/network/address.hpp"
#include "node/route.hpp"
#include "support/json.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

/// The SDN configuration of a cluster: zones, VNets and subnets as they are written, and what an
/// apply will change. Pure. (pve-network: SDN.pm, API2/Network/SDN)
namespace px::node {

/// The objects of one kind by id. Values are texts, numbers (booleans too) and, for `dhcp-range`,
/// a list of texts.
using SdnObjects = std::map<std::string, json::object>;

struct SdnConfig {
  SdnObjects zones;
  SdnObjects vnets;
  SdnObjects subnets;  ///< by ZONE-ADDRESS-PREFIX

  json::object to_json() const;
  static SdnConfig from_json(const json::value& stored);
  friend bool operator==(const SdnConfig&, const SdnConfig&) = default;
};

/// First and last address of a DHCP range.
struct DhcpRange {
  IpAddress first;
  IpAddress last;
};

/// A subnet with what its id says.
struct Subnet {
  std::string id;
  std::string zone;
  std::string vnet;
  Cidr cidr;
  std::string cidr_text;  ///< as it is written: the key of its addresses in the IPAM
  std::string gateway;    ///< empty = none
  bool snat = false;
  std::string dns_server;  ///< `dhcp-dns-server`; empty = the gateway
  std::vector<DhcpRange> ranges;
};

/// Throws ApiError 500 for an id that is no ZONE-ADDRESS-PREFIX.
Subnet subnet_of(const std::string& id, const json::object& object);
/// Those of one VNet, in the order of their ids.
std::vector<Subnet> subnets_of(const SdnConfig& config, std::string_view vnet);
/// The first of `subnets` that holds `ip`. Throws ApiError 500 "can't find any subnet for ip ...".
const Subnet& subnet_for(const std::vector<Subnet>& subnets, const std::string& ip);

/// The parameters of the objects of each kind, beside their ids: of the routes that make and
/// change them. Only what a simple zone can have.
const std::vector<Param>& zone_properties();
const std::vector<Param>& vnet_properties();
const std::vector<Param>& subnet_properties();

/// The values that `call` gives for `properties`.
json::object object_of(const Call& call, const std::vector<Param>& properties);

/// What `pending=1` shows of a kind: `state` new, changed or deleted; the applied values above, the
/// waiting ones under `pending` ("deleted" for a value that goes). An object without changes has no
/// `state`. (pve-network SDN.pm, pending_config)
SdnObjects pending_view(const SdnObjects& running, const SdnObjects& written);

/// 40 hexadecimal digits that change with the objects.
std::string digest_of(const SdnObjects& objects);

/// The changes that requests make; each checks first what the real server checks, and throws
/// ApiError in its words: 400 with the parameter, or 500.
void add_zone(SdnConfig& config, const std::string& id, json::object zone);
void change_zone(SdnConfig& config, const std::string& id, json::object change,
                 const std::vector<std::string>& removed);
void remove_zone(SdnConfig& config, const std::string& id);
void add_vnet(SdnConfig& config, const std::string& id, json::object vnet);
void change_vnet(SdnConfig& config, const std::string& id, json::object change,
                 const std::vector<std::string>& removed);
void remove_vnet(SdnConfig& config, const std::string& id);

/// Each throws ApiError 500 "sdn ... 'ID' does not exist".
const json::object& zone_at(const SdnObjects& zones, const std::string& id);
const json::object& vnet_at(const SdnObjects& vnets, const std::string& id);
const json::object& subnet_at(const SdnObjects& subnets, const std::string& id);

/// Removes options by `delete`. Throws ApiError 500 for what is no option, or must be there.
void remove_properties(json::object& object, const json::object& change,
                       const std::vector<std::string>& removed,
                       const std::vector<Param>& properties);
/// Throws ApiError 400 for a gateway or a DHCP range outside of the subnet, for ranges that overlap
/// or run backwards, and for a VNet that can't have subnets.
void check_subnet(const SdnConfig& config, const std::string& id, const json::object& object);

}  // namespace px::node
