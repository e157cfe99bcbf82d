#pragma once
#include "network/address.hpp"
#include "network/sets.hpp"
#include "pve/firewall.hpp"
#include "pve/ids.hpp"
#include "pve/sdn.hpp"
#include "support/async.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// All networks of a server with those who use them, for people who look at them or clean up.
namespace px::network {

/// A VM with a network card in a VNet.
struct Guest {
  pve::VmRef vm;
  std::string name;
};

struct VnetEntry {
  pve::sdn::Vnet vnet;
  std::vector<pve::sdn::Subnet> subnets;
  std::vector<Guest> guests;
  std::vector<pve::sdn::Booking> bookings;
  std::vector<std::string> troubles{};  ///< "node pve1: error: missing vlan-raw-device"
};

enum class Whose {
  run,        ///< a run's: its VNets carry the mark
  unmarked,   ///< named as ours are, without a mark: of the existing provider, or half made
  permanent,  ///< the existing provider's `inspvmz`, which stays
  foreign,
};

struct ZoneEntry {
  pve::sdn::Zone zone;
  Whose whose = Whose::foreign;
  std::string run{};  ///< of Whose::run
  std::vector<VnetEntry> vnets{};

  bool ours() const noexcept { return whose == Whose::run || whose == Whose::unmarked; }
  /// Ours and not removed yet.
  bool removable() const noexcept { return ours() && zone.state != pve::sdn::State::deleted; }
  Remains remains() const;
};

/// A security group of ours that belongs to no VNet any more: it was named like one.
struct LostGroup {
  std::string name;
  std::string run;
};

struct Inventory {
  bool has_sdn = true;
  std::vector<ZoneEntry> zones{};  ///< by name
  std::vector<HostRange> host_ranges{};
  /// Bookings whose VMID nobody has.
  std::vector<pve::sdn::Booking> orphans{};
  /// Online nodes that serve DHCP zones and have no dnsmasq, as far as they tell.
  std::vector<pve::NodeName> without_dnsmasq{};
  std::vector<LostGroup> lost_groups{};
  /// Why VMs may be unseen: "node pve2 is offline". Nothing counts as free then.
  std::vector<std::string> unseen{};
};

/// Looks at the whole cluster. A request for each VM, VNet and node, and a few more. Errors: the
/// server's; a server without SDN has no zones.
awaitable<Inventory> take_inventory(pve::Client& client);

/// --- decisions ---------------------------------------------------------------------------------

/// What a zone's guests are called: "VM 101 (router), VM 102 (web)"; empty without any.
std::string users_of(const ZoneEntry& zone);
/// Whether a VM may have a card in the zone; with the reason to believe it.
std::optional<std::string> use_of(const Inventory& inventory, const ZoneEntry& zone);
/// Two ranges that break each other: both of them with an address of the host inside. Without a
/// gateway the same range twice works (pve-practice section 5).
struct Overlap {
  std::string first;   ///< "10.1.0.0/24 of VNet abc123v0 in zone abc123z"
  std::string second;  ///< as well, or "10.1.0.0/24 of vmbr0 of node pve1"
};
std::vector<Overlap> overlaps_of(const Inventory& inventory);
/// "zone abc123z (new)", for each change of the zone that is not applied.
std::vector<std::string> pending_of(const ZoneEntry& zone);

/// Zones with what belongs to them, from what a server lists. Pure; sorted by name.
std::vector<ZoneEntry> sort_out(const std::vector<pve::sdn::Zone>& zones,
                                const std::vector<VnetEntry>& vnets);
/// Groups with a run's mark whose VNet is gone. Pure.
std::vector<LostGroup> lost_groups_of(const std::vector<pve::firewall::Group>& groups,
                                      const std::vector<VnetEntry>& vnets);
/// The bridges of the network cards in a VM's configuration.
std::vector<std::string> bridges_of(const std::map<std::string, std::string>& options);

}  // namespace px::network
