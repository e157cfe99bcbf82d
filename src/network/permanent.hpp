#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "support/async.hpp"

#include <string_view>

namespace px::network {

/// The zone of the existing provider for VMs that install something from the internet: it is made
/// once and stays.
inline constexpr std::string_view permanent_zone = "inspvmz";

/// Its VNet `inspvmv0`: 192.168.99.0/24 with DHCP and SNAT. Made and applied where it isn't there;
/// of several processes that do so at once, either one wins. Errors: the server's.
awaitable<pve::VnetId> permanent_vnet(pve::Client& client);

}  // namespace px::network
