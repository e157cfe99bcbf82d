#pragma once
#include "network/address.hpp"
#include "pve/agent.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "support/async.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

/// The addresses of a VM's network cards.
namespace px::network {

/// A card as it is in its VM's configuration.
struct FittedCard {
  std::string label;  ///< its VNet's alias, or `net0`; for people and for `addresses`
  std::string mac;    ///< upper case
  pve::ZoneId zone;
  pve::VnetId vnet;
  bool has_dhcp = false;           ///< its VNet gives out IPv4 addresses
  std::optional<Address> fixed{};  ///< booked for it
};

/// Label -> addresses. Link-local ones and the loopback are left out.
using Addresses = std::map<std::string, std::vector<std::string>>;

/// Decides from what a guest shows whether it has come up on its networks. No socket, no clock.
///
/// It has wholly when every booked address is there, and every card with DHCP has an address;
/// partly when one of these has: a guest is free to leave its other cards alone.
class AddressWait {
 public:
  explicit AddressWait(std::vector<FittedCard> cards) : cards_{std::move(cards)} {}
  enum class Up : std::uint8_t { no, partly, wholly };
  Up state(const std::vector<pve::agent::Interface>& seen) const;
  Addresses addresses(const std::vector<pve::agent::Interface>& seen) const;
  /// "lan (BC:24:11:00:00:01) should have 10.1.0.9; the guest shows eth0 ... with no address"
  std::string missing(const std::vector<pve::agent::Interface>& seen) const;

 private:
  std::vector<FittedCard> cards_;
};

/// Waits until the guest has its addresses, 3 s for the last ones of several cards. Where its agent
/// can't tell, the server's bookings are returned, unseen. Error{unavailable} at `limit`, with what
/// was seen.
awaitable<Addresses> wait_for_addresses(pve::Client& client, pve::VmRef vm,
                                        std::vector<FittedCard> cards, std::string text,
                                        Deadline limit);

}  // namespace px::network
