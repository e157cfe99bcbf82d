#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/sdn_lock.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// Software-defined networks: /cluster/sdn and /nodes/{node}/sdn. Source: pve-network
/// API2/Network/SDN*.pm; checked on PVE 9.2 (pve-facts section 11).
///
/// What is written is pending until apply(), which applies everyone's pending changes. Creating
/// twice does no harm here: when an answer is lost, the lists tell whether it took effect. Removing
/// what isn't there is fine. Writes wait out locks until their deadline.
namespace px::pve::sdn {

/// What apply() would do to an object.
enum class State : std::uint8_t { applied, created, changed, deleted };

/// Of a zone, a VNet or a subnet: in the API's words, and their values.
using Options = std::vector<std::pair<std::string, std::string>>;

struct Change {
  LockToken token{};
  Deadline deadline = Deadline::after(std::chrono::seconds{60});
};

/// --- zones -------------------------------------------------------------------------------------

struct Zone {
  ZoneId id;
  std::string type;  ///< simple, vlan, vxlan...
  std::string dhcp;  ///< dnsmasq, or empty
  State state = State::applied;
};
/// Pending ones too. Needs SDN.Audit; lists what the caller may see.
awaitable<std::vector<Zone>> zones(Client& client);
/// A simple zone. `with_dhcp`: addresses by Proxmox VE's IPAM, given out by dnsmasq.
/// `more`: any other options. already_exists: take another name.
awaitable<void> create_zone(Client& client, ZoneId zone, bool with_dhcp, Change change,
                            Options more = {});
awaitable<void> remove_zone(Client& client, ZoneId zone, Change change);

/// --- VNets -------------------------------------------------------------------------------------

struct Vnet {
  VnetId id;
  ZoneId zone;
  std::string alias;
  State state = State::applied;
};
awaitable<std::vector<Vnet>> vnets(Client& client);
/// `alias`: at most 256 letters, digits, blanks and `()*+,-./:;<=>?@[\]^_` (pve-practice section
/// 7); empty for none. `more`: any other options. already_exists: take another name.
awaitable<void> create_vnet(Client& client, VnetId vnet, ZoneId zone, std::string alias,
                            Change change, Options more = {});
/// Errc::server while it has subnets. A VM that uses it is not noticed.
awaitable<void> remove_vnet(Client& client, VnetId vnet, Change change);

/// --- subnets -----------------------------------------------------------------------------------

struct Subnet {
  std::string id;  ///< ZONE-NET-MASK
  VnetId vnet;
  std::string cidr;
  std::string gateway;
  State state = State::applied;
};
/// None for a VNet that is gone.
awaitable<std::vector<Subnet>> subnets(Client& client, VnetId vnet);

struct NewSubnet {
  VnetId vnet;
  ZoneId zone;
  std::string cidr;  ///< without host bits: the server would take them as another id
  std::string gateway{};
  bool snat = false;
  struct Range {
    std::string start, end;
  };
  std::vector<Range> dhcp_ranges{};
  Options more{};
};
awaitable<void> create_subnet(Client& client, NewSubnet subnet, Change change);
/// Errc::server while an address of it is booked.
awaitable<void> remove_subnet(Client& client, Subnet subnet, Change change);

/// --- addresses ---------------------------------------------------------------------------------

/// Whether the caller sees Proxmox VE's own IPAM, `pve`.
awaitable<bool> has_ipam(Client& client);

/// A booking of Proxmox VE's own IPAM.
struct Booking {
  ZoneId zone;
  VnetId vnet;
  std::string subnet;  ///< CIDR
  std::string ip;
  std::string mac;  ///< upper case; empty: a gateway's, or unknown
  std::optional<Vmid> vmid;
  bool is_gateway = false;
};
awaitable<std::vector<Booking>> bookings(Client& client);
/// Moves the booking of a network card to `ip`, inside or outside the DHCP ranges. The card must be
/// in its VM's configuration already, and takes the address at the VM's next start (pve-practice
/// section 4). already_exists: another card has it; not_found: no subnet of the zone holds it.
awaitable<void> move_booking(Client& client, ZoneId zone, VnetId vnet, std::string mac,
                             std::string ip, Vmid vmid, Deadline deadline);
awaitable<void> remove_booking(Client& client, Booking booking, Deadline deadline);

/// --- applying ----------------------------------------------------------------------------------

/// Applies all pending changes, everyone's, and gives the lock back. Returns when each node has
/// reloaded its network. The task says OK even when a node failed, so its log is read: then
/// Error{task_failed} with the lines that say which node and why.
awaitable<void> apply(Client& client, Lock& lock, Deadline deadline);

/// What a node says of its zones: `error` when a VNet of it is in error.
struct ZoneStatus {
  ZoneId zone;
  std::string status;  ///< available, pending, error
};
awaitable<std::vector<ZoneStatus>> zone_states(Client& client, NodeName node);

/// What a node says of a VNet after an apply.
struct VnetStatus {
  VnetId vnet;
  std::string status;  ///< available, pending, error
  std::string message;
};
awaitable<std::vector<VnetStatus>> status(Client& client, NodeName node, ZoneId zone);

/// The lines of an apply's log that report a failure. The log is of `PUT /cluster/sdn`'s task.
std::vector<std::string> failures_of_apply(const std::vector<std::string>& log);

}  // namespace px::pve::sdn
