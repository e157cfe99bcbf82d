#pragma once
#include "node/network/network_maker.hpp"
#include "node/network/sdn.hpp"
#include "node/route.hpp"
#include "node/tasks.hpp"

#include <memory>
#include <vector>

namespace px::node {

/// /cluster/sdn, /nodes/{node}/sdn and /nodes/{node}/network.
/// (pve-network API2/Network/SDN; exchanges 12 and 24 to 29)
class SdnRoutes : public std::enable_shared_from_this<SdnRoutes> {
 public:
  SdnRoutes(Sdn& sdn, Tasks& tasks, NetworkMaker& networks)
      : sdn_{sdn}, tasks_{tasks}, networks_{networks} {}
  void add_routes(Router& router);

 private:
  using Handler = awaitable<json::value> (SdnRoutes::*)(Call&);

  void add(Router& router, std::string method, std::string path, std::vector<Param> params,
           Handler handler, bool is_protected);
  void add_cluster_routes(Router& router);
  void add_zone_routes(Router& router);
  void add_vnet_routes(Router& router);
  void add_subnet_routes(Router& router);
  void add_ipam_routes(Router& router);
  void add_node_routes(Router& router);

  SdnObjects view(const Call& call, SdnObjects SdnConfig::* kind) const;
  json::object shown(const Call& call, SdnObjects SdnConfig::* kind, const char* id_key,
                     const std::string& id, json::object object) const;
  json::object shown_subnet(const Call& call, const std::string& id, json::object object) const;

  awaitable<json::value> index(Call& call);
  awaitable<json::value> apply(Call& call);
  awaitable<json::value> lock(Call& call);
  awaitable<json::value> release_lock(Call& call);
  awaitable<json::value> rollback(Call& call);

  awaitable<json::value> zones(Call& call);
  awaitable<json::value> zone(Call& call);
  awaitable<json::value> make_zone(Call& call);
  awaitable<json::value> change_zone(Call& call);
  awaitable<json::value> remove_zone(Call& call);

  awaitable<json::value> vnets(Call& call);
  awaitable<json::value> vnet(Call& call);
  awaitable<json::value> make_vnet(Call& call);
  awaitable<json::value> change_vnet(Call& call);
  awaitable<json::value> remove_vnet(Call& call);

  awaitable<json::value> subnets(Call& call);
  awaitable<json::value> subnet(Call& call);
  awaitable<json::value> make_subnet(Call& call);
  awaitable<json::value> change_subnet(Call& call);
  awaitable<json::value> remove_subnet(Call& call);

  awaitable<json::value> book_ip(Call& call);
  awaitable<json::value> move_ip(Call& call);
  awaitable<json::value> free_ip(Call& call);
  awaitable<json::value> ipams(Call& call);
  awaitable<json::value> ipam(Call& call);
  awaitable<json::value> ipam_status(Call& call);

  awaitable<json::value> node_index(Call& call);
  awaitable<json::value> node_zones(Call& call);
  awaitable<json::value> node_zone(Call& call);
  awaitable<json::value> node_zone_content(Call& call);
  awaitable<json::value> interfaces(Call& call);
  awaitable<json::value> interface(Call& call);

  awaitable<void> reload(TaskLog& log, std::string user);

  Sdn& sdn_;
  Tasks& tasks_;
  NetworkMaker& networks_;
  Semaphore applying_{1};
};

}  // namespace px::node
