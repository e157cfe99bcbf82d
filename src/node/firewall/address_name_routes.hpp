#pragma once
#include "node/firewall/firewall_config.hpp"
#include "node/network/network_maker.hpp"
#include "node/route.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace px::node {

/// The names that a firewall's rules can have for addresses: a VM's IP sets and aliases, and the
/// list of those that there are. (pve-firewall API2/Firewall, IPSet.pm and Aliases.pm)
class AddressNameRoutes : public std::enable_shared_from_this<AddressNameRoutes> {
 public:
  AddressNameRoutes(Firewall& firewall, NetworkMaker& networks)
      : firewall_{firewall}, networks_{networks} {}
  void add_routes(Router& router);

 private:
  using Handler = awaitable<json::value> (AddressNameRoutes::*)(Call&);

  void add(Router& router, std::string method, std::string path, std::vector<Param> params,
           Handler handler);
  const FirewallFile& file_of(const Call& call) const;
  awaitable<void> change(Call& call, std::function<void(FirewallFile&)> change);

  awaitable<json::value> index(Call& call);
  awaitable<json::value> refs(Call& call);
  awaitable<json::value> ipsets(Call& call);
  awaitable<json::value> make_ipset(Call& call);
  awaitable<json::value> ipset(Call& call);
  awaitable<json::value> add_address(Call& call);
  awaitable<json::value> remove_ipset(Call& call);
  awaitable<json::value> address(Call& call);
  awaitable<json::value> remove_address(Call& call);
  awaitable<json::value> aliases(Call& call);
  awaitable<json::value> make_alias(Call& call);
  awaitable<json::value> alias(Call& call);
  awaitable<json::value> remove_alias(Call& call);

  Firewall& firewall_;
  NetworkMaker& networks_;
};

}  // namespace px::node
