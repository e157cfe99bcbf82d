#pragma once
#include "node/firewall/firewall_config.hpp"
#include "node/network/network_maker.hpp"
#include "node/route.hpp"

#include <memory>
#include <string>
#include <vector>

namespace px::node {

/// Options and rules of the firewall: of the datacenter with its security groups, the node, VMs and
/// VNets. What is written is in force when the call returns. (pve-firewall API2/Firewall; exchanges
/// 12 and 30)
///
/// As on the real server, nobody asks whether a VM is there, and a deleted VNet's rules wait for
/// the next one of its name. Rules of VNets, and of what passes the node, are kept and have no
/// effect.
class FirewallRoutes : public std::enable_shared_from_this<FirewallRoutes> {
 public:
  FirewallRoutes(Firewall& firewall, Sdn& sdn, NetworkMaker& networks)
      : firewall_{firewall}, sdn_{sdn}, networks_{networks} {}
  void add_routes(Router& router);

 private:
  using Handler = awaitable<json::value> (FirewallRoutes::*)(Call&);
  struct Place;

  void add(Router& router, std::string method, std::string path, std::vector<Param> params,
           Handler handler);
  void add_options(Router& router, const std::string& base, std::vector<Param> properties);
  void add_rules(Router& router, const std::string& base);
  void add_groups(Router& router);

  Place place_of(const Call& call) const;
  const FirewallRules& rules_at(const Place& place) const;
  awaitable<void> change(Call& call, std::function<void(FirewallFile&)> change);

  awaitable<json::value> options(Call& call);
  awaitable<json::value> set_options(Call& call);
  awaitable<json::value> rules(Call& call);
  awaitable<json::value> rule(Call& call);
  awaitable<json::value> add_rule(Call& call);
  awaitable<json::value> change_rule(Call& call);
  awaitable<json::value> remove_rule(Call& call);

  awaitable<json::value> groups(Call& call);
  awaitable<json::value> make_group(Call& call);
  awaitable<json::value> remove_group(Call& call);

  Firewall& firewall_;
  Sdn& sdn_;
  NetworkMaker& networks_;
};

}  // namespace px::node
