#include "node/network/sdn_routes.hpp"

#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::node {

namespace {

const Param lock_token{.name = "lock-token"};
const Param digest{.name = "digest", .max_length = 64};
const Param removed{.name = "delete", .max_length = 4096};
const Param pending{.name = "pending", .type = ParamType::boolean};
const Param running{.name = "running", .type = ParamType::boolean};
const Param release_lock_after{.name = "release-lock", .type = ParamType::boolean};
const std::vector<std::string> zone_types{"evpn", "faucet", "qinq", "simple", "vlan", "vxlan"};
constexpr std::string_view object_id = "[a-zA-Z][a-zA-Z0-9]*[a-zA-Z0-9]";

/// The digest of an empty file: no IPAM was configured beside the built-in one.
constexpr std::string_view empty_digest = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

Param id_param(std::string name) {
  return {.name = std::move(name),
          .required = true,
          .max_length = 8,
          .pattern = std::string{object_id}};
}

std::vector<Param> with(std::vector<Param> own, const std::vector<Param>& more) {
  own.insert(own.end(), more.begin(), more.end());
  return own;
}

std::optional<std::string> token_of(const Call& call) {
  return call.has("lock-token") ? std::optional{call.text("lock-token")} : std::nullopt;
}

void check_digest(const Call& call, const SdnObjects& objects) {
  if (!call.has("digest") || call.text("digest") == digest_of(objects)) return;
  throw ApiError{500, "detected modified configuration - file changed by other user? Try again.\n"};
}

json::array names(std::string_view key, std::initializer_list<std::string_view> values) {
  json::array out;
  for (const auto value : values) out.push_back(json::object{{key, value}});
  return out;
}

bool has_ipam(const SdnConfig& config, const std::string& vnet) {
  const auto zone = json::text_at(vnet_at(config.vnets, vnet), "zone");
  return zone_at(config.zones, zone).contains("ipam");
}

/// `start-address=A,end-address=B` as an object, as a subnet is shown.
json::array ranges_as_objects(const json::object& subnet) {
  json::array out;
  const auto* ranges = subnet.if_contains("dhcp-range");
  if (ranges == nullptr) return out;
  for (const auto& range : ranges->as_array()) {
    const Properties words{range.as_string()};
    out.push_back(json::object{{"start-address", words.get("start-address")},
                               {"end-address", words.get("end-address")}});
  }
  return out;
}

/// A point-to-point link's gateway is no address of the subnet.
void book_gateway(Ipam& ipam, const Subnet& subnet) {
  const bool point_to_point = subnet.cidr.is_v4() && subnet.cidr.prefix == 32;
  if (subnet.gateway.empty() || point_to_point) return;
  Ipam::Booking booking;
  booking.gateway = true;
  ipam.add(subnet, subnet.gateway, booking);
}

void free_gateway(Ipam& ipam, const Subnet& subnet) {
  try {
    ipam.remove(subnet, subnet.gateway, "");
  } catch (const ApiError& error) {
    log::debug("gateway of {}: {}", subnet.id, error.message);
  }
}

/// What one task tells another that waits for its end.
struct Done {
  Event event;
  std::string failure;
  explicit Done(const asio::any_io_executor& executor) : event{executor} {}
};

/// Tells it also when the task is stopped.
class TellAtEnd {
 public:
  explicit TellAtEnd(std::shared_ptr<Done> done) : done_{std::move(done)} {}
  ~TellAtEnd() { done_->event.set(); }
  TellAtEnd(const TellAtEnd&) = delete;
  TellAtEnd& operator=(const TellAtEnd&) = delete;

 private:
  std::shared_ptr<Done> done_;
};

/// The VNet of a subnet: one of its zone whose applied subnets hold the address.
std::string vnet_of(const SdnConfig& config, const std::string& zone, const std::string& cidr) {
  const auto ip = cidr.substr(0, cidr.find('/'));
  const auto address = parse_ip(ip);
  for (const auto& [id, vnet] : config.vnets) {
    if (json::text_or(vnet, "zone") != zone) continue;
    for (const auto& subnet : subnets_of(config, id)) {
      if (address && subnet.cidr.contains(*address)) return id;
    }
  }
  return {};
}

json::object bridge_entry() {
  return {{"iface", default_bridge},
          {"type", "bridge"},
          {"active", 1},
          {"autostart", 1},
          {"method", "manual"},
          {"method6", "manual"},
          {"bridge_ports", ""},
          {"bridge_stp", "off"},
          {"bridge_fd", "0"},
          {"priority", 3},
          {"families", json::array{"inet"}}};
}

}  // namespace

void SdnRoutes::add(Router& router, std::string method, std::string path, std::vector<Param> params,
                    Handler handler, bool is_protected) {
  router.add({.method = std::move(method),
              .path = std::move(path),
              .params = std::move(params),
              .handler = [self = shared_from_this(),
                          handler](Call& call) { return ((*self).*handler)(call); },
              .is_protected = is_protected});
}

void SdnRoutes::add_routes(Router& router) {
  add_cluster_routes(router);
  add_zone_routes(router);
  add_vnet_routes(router);
  add_subnet_routes(router);
  add_ipam_routes(router);
  add_node_routes(router);
}

void SdnRoutes::add_cluster_routes(Router& router) {
  using enum ParamType;
  const std::string base = "/cluster/sdn";
  add(router, "GET", base, {}, &SdnRoutes::index, false);
  add(router, "PUT", base, {lock_token, release_lock_after}, &SdnRoutes::apply, true);
  add(router, "POST", base + "/lock", {{.name = "allow-pending", .type = boolean}},
      &SdnRoutes::lock, true);
  add(router, "DELETE", base + "/lock", {lock_token, {.name = "force", .type = boolean}},
      &SdnRoutes::release_lock, true);
  add(router, "POST", base + "/rollback", {lock_token, release_lock_after}, &SdnRoutes::rollback,
      true);
}

void SdnRoutes::add_zone_routes(Router& router) {
  const std::string base = "/cluster/sdn/zones";
  const std::string one = base + "/{zone}";
  add(router, "GET", base, {pending, running, {.name = "type", .one_of = zone_types}},
      &SdnRoutes::zones, false);
  add(router, "POST", base,
      with({id_param("zone"), {.name = "type", .required = true, .one_of = zone_types}, lock_token},
           zone_properties()),
      &SdnRoutes::make_zone, true);
  add(router, "GET", one, {pending, running}, &SdnRoutes::zone, false);
  add(router, "PUT", one, with({removed, digest, lock_token}, zone_properties()),
      &SdnRoutes::change_zone, true);
  add(router, "DELETE", one, {lock_token}, &SdnRoutes::remove_zone, true);
}

void SdnRoutes::add_vnet_routes(Router& router) {
  const std::string base = "/cluster/sdn/vnets";
  const std::string one = base + "/{vnet}";
  auto create =
      with({id_param("vnet"), {.name = "type", .one_of = {"vnet"}}, lock_token}, vnet_properties());
  create.back().required = true;  // the zone
  add(router, "GET", base, {pending, running}, &SdnRoutes::vnets, false);
  add(router, "POST", base, create, &SdnRoutes::make_vnet, true);
  add(router, "GET", one, {pending, running}, &SdnRoutes::vnet, false);
  add(router, "PUT", one, with({removed, digest, lock_token}, vnet_properties()),
      &SdnRoutes::change_vnet, true);
  add(router, "DELETE", one, {lock_token}, &SdnRoutes::remove_vnet, true);
}

void SdnRoutes::add_subnet_routes(Router& router) {
  const std::string base = "/cluster/sdn/vnets/{vnet}/subnets";
  const std::string one = base + "/{subnet}";
  add(router, "GET", base, {pending, running}, &SdnRoutes::subnets, false);
  add(router, "POST", base,
      with({{.name = "subnet", .required = true, .format = "pve-sdn-subnet-id"},
            {.name = "type", .required = true, .one_of = {"subnet"}},
            lock_token},
           subnet_properties()),
      &SdnRoutes::make_subnet, true);
  add(router, "GET", one, {pending, running}, &SdnRoutes::subnet, false);
  add(router, "PUT", one, with({removed, digest, lock_token}, subnet_properties()),
      &SdnRoutes::change_subnet, true);
  add(router, "DELETE", one, {lock_token}, &SdnRoutes::remove_subnet, true);
}

void SdnRoutes::add_ipam_routes(Router& router) {
  const std::string ips = "/cluster/sdn/vnets/{vnet}/ips";
  const std::vector<Param> address{id_param("zone"),
                                   {.name = "ip", .required = true, .format = "ip"},
                                   {.name = "mac", .format = "mac-addr"}};
  auto move = address;
  move.push_back({.name = "vmid",
                  .type = ParamType::integer,
                  .minimum = 100,
                  .maximum = 999'999'999,
                  .format = "pve-vmid"});
  add(router, "POST", ips, address, &SdnRoutes::book_ip, true);
  add(router, "PUT", ips, move, &SdnRoutes::move_ip, true);
  add(router, "DELETE", ips, address, &SdnRoutes::free_ip, true);
  add(router, "GET", "/cluster/sdn/ipams",
      {{.name = "type", .one_of = {"netbox", "phpipam", "pve"}}}, &SdnRoutes::ipams, false);
  add(router, "GET", "/cluster/sdn/ipams/{ipam}", {}, &SdnRoutes::ipam, false);
  add(router, "GET", "/cluster/sdn/ipams/{ipam}/status", {}, &SdnRoutes::ipam_status, true);
}

void SdnRoutes::add_node_routes(Router& router) {
  const std::string base = "/nodes/{node}/sdn";
  add(router, "GET", base, {}, &SdnRoutes::node_index, false);
  add(router, "GET", base + "/zones", {}, &SdnRoutes::node_zones, true);
  add(router, "GET", base + "/zones/{zone}", {}, &SdnRoutes::node_zone, false);
  add(router, "GET", base + "/zones/{zone}/content", {}, &SdnRoutes::node_zone_content, true);
  add(router, "GET", "/nodes/{node}/network",
      {{.name = "type",
        .one_of = {"bridge", "bond", "eth", "alias", "vlan", "fabric", "OVSBridge", "OVSBond",
                   "OVSPort", "OVSIntPort", "vnet", "any_bridge", "any_local_bridge",
                   "include_sdn"}}},
      &SdnRoutes::interfaces, false);
  add(router, "GET", "/nodes/{node}/network/{iface}", {}, &SdnRoutes::interface, false);
}

SdnObjects SdnRoutes::view(const Call& call, SdnObjects SdnConfig::* kind) const {
  if (call.flag("pending")) return pending_view(sdn_.running().*kind, sdn_.written().*kind);
  return call.flag("running") ? sdn_.running().*kind : sdn_.written().*kind;
}

json::object SdnRoutes::shown(const Call& call, SdnObjects SdnConfig::* kind, const char* id_key,
                              const std::string& id, json::object object) const {
  object[id_key] = id;
  object["digest"] = nullptr;
  if (!call.flag("pending") && !call.flag("running")) {
    object["digest"] = digest_of(sdn_.written().*kind);
  }
  return object;
}

json::object SdnRoutes::shown_subnet(const Call& call, const std::string& id,
                                     json::object object) const {
  const auto subnet = subnet_of(id, {});
  object["dhcp-range"] = ranges_as_objects(object);
  object["id"] = id;
  object["zone"] = subnet.zone;
  object["cidr"] = subnet.cidr_text;
  const auto slash = subnet.cidr_text.find('/');
  object["network"] = subnet.cidr_text.substr(0, slash);
  object["mask"] = subnet.cidr_text.substr(slash + 1);
  return shown(call, &SdnConfig::subnets, "subnet", id, std::move(object));
}

awaitable<json::value> SdnRoutes::index(Call&) {
  co_return names("id", {"vnets", "zones", "controllers", "ipams", "dns", "fabrics"});
}

awaitable<json::value> SdnRoutes::apply(Call& call) {
  sdn_.commit(token_of(call), call.flag("release-lock", true));
  co_return tasks_.start("reloadnetworkall", "", call.user,
                         [self = shared_from_this(), user = call.user](TaskLog& log) {
                           return self->reload(log, user);
                         });
}

/// Ends OK whatever became of the reload, as on the real server: only its log tells (exchange 12,
/// pve-facts section 11).
awaitable<void> SdnRoutes::reload(TaskLog& log, std::string user) {
  log.line(fmt::format("{}: reloading network config", sdn_.node()));
  const auto done = std::make_shared<Done>(co_await asio::this_coro::executor);
  const auto work = [self = shared_from_this(), done](TaskLog& own_log) -> awaitable<void> {
    const TellAtEnd at_end{done};
    const auto turn = co_await self->applying_.acquire();
    try {
      co_await self->networks_.apply();
    } catch (const Error& error) {
      done->failure = error.said;
      own_log.line(error.said);
      throw;
    }
  };
  tasks_.start("srvreload", "networking", std::move(user), work);
  co_await done->event.wait();
  if (done->failure.empty()) co_return;
  log.line(done->failure);
  log.line("command 'ifreload -a' failed: exit code 1");
}

awaitable<json::value> SdnRoutes::lock(Call& call) {
  co_return json::value(sdn_.lock(call.flag("allow-pending")));
}

awaitable<json::value> SdnRoutes::release_lock(Call& call) {
  sdn_.release_lock(token_of(call), call.flag("force"));
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::rollback(Call& call) {
  sdn_.rollback(token_of(call), call.flag("release-lock", true));
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::zones(Call& call) {
  json::array out;
  for (auto& [id, zone] : view(call, &SdnConfig::zones)) {
    if (call.has("type") && call.text("type") != json::text_or(zone, "type")) continue;
    out.push_back(shown(call, &SdnConfig::zones, "zone", id, zone));
  }
  co_return out;
}

awaitable<json::value> SdnRoutes::zone(Call& call) {
  const auto& id = call.text("zone");
  co_return shown(call, &SdnConfig::zones, "zone", id, zone_at(view(call, &SdnConfig::zones), id));
}

awaitable<json::value> SdnRoutes::make_zone(Call& call) {
  if (call.text("type") != "simple") {
    throw ApiError{
        501, fmt::format("the local node has simple zones only, no {} zones", call.text("type"))};
  }
  sdn_.change(token_of(call), "create sdn zone object failed", [&](SdnConfig& config, Ipam&) {
    add_zone(config, call.text("zone"), object_of(call, zone_properties()));
  });
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::change_zone(Call& call) {
  sdn_.change(token_of(call), "update sdn zone object failed", [&](SdnConfig& config, Ipam&) {
    check_digest(call, config.zones);
    node::change_zone(config, call.text("zone"), object_of(call, zone_properties()),
                      call.words("delete"));
  });
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::remove_zone(Call& call) {
  sdn_.change(token_of(call), "delete sdn zone object failed",
              [&](SdnConfig& config, Ipam&) { node::remove_zone(config, call.text("zone")); });
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::vnets(Call& call) {
  json::array out;
  for (auto& [id, vnet] : view(call, &SdnConfig::vnets)) {
    out.push_back(shown(call, &SdnConfig::vnets, "vnet", id, vnet));
  }
  co_return out;
}

awaitable<json::value> SdnRoutes::vnet(Call& call) {
  const auto& id = call.text("vnet");
  vnet_at(sdn_.written().vnets, id);  // the right to see it is asked of its written zone
  co_return shown(call, &SdnConfig::vnets, "vnet", id, vnet_at(view(call, &SdnConfig::vnets), id));
}

awaitable<json::value> SdnRoutes::make_vnet(Call& call) {
  sdn_.change(token_of(call), "create sdn vnet object failed", [&](SdnConfig& config, Ipam&) {
    add_vnet(config, call.text("vnet"), object_of(call, vnet_properties()));
  });
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::change_vnet(Call& call) {
  vnet_at(sdn_.written().vnets, call.text("vnet"));
  sdn_.change(token_of(call), "update sdn vnet object failed", [&](SdnConfig& config, Ipam&) {
    check_digest(call, config.vnets);
    node::change_vnet(config, call.text("vnet"), object_of(call, vnet_properties()),
                      call.words("delete"));
  });
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::remove_vnet(Call& call) {
  vnet_at(sdn_.written().vnets, call.text("vnet"));
  sdn_.change(token_of(call), "delete sdn vnet object failed",
              [&](SdnConfig& config, Ipam&) { node::remove_vnet(config, call.text("vnet")); });
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::subnets(Call& call) {
  const auto& vnet = call.text("vnet");
  vnet_at(sdn_.written().vnets, vnet);
  json::array out;
  for (auto& [id, subnet] : view(call, &SdnConfig::subnets)) {
    if (json::text_or(subnet, "vnet") == vnet) out.push_back(shown_subnet(call, id, subnet));
  }
  co_return out;
}

awaitable<json::value> SdnRoutes::subnet(Call& call) {
  const auto& id = call.text("subnet");
  vnet_at(sdn_.written().vnets, call.text("vnet"));
  const auto object = subnet_at(view(call, &SdnConfig::subnets), id);
  if (json::text_or(object, "vnet") != call.text("vnet")) {
    throw ApiError::parameter("vnet", "wrong vnet");
  }
  co_return shown_subnet(call, id, object);
}

awaitable<json::value> SdnRoutes::make_subnet(Call& call) {
  const auto& vnet = call.text("vnet");
  vnet_at(sdn_.written().vnets, vnet);
  sdn_.change(
      token_of(call), "create sdn subnet object failed", [&](SdnConfig& config, Ipam& ipam) {
        auto cidr = call.text("subnet");
        std::replace(cidr.begin(), cidr.end(), '/', '-');
        const auto id = fmt::format("{}-{}", json::text_at(config.vnets.at(vnet), "zone"), cidr);
        if (config.subnets.contains(id)) {
          throw ApiError{500, fmt::format("sdn subnet object ID '{}' already defined\n", id)};
        }
        auto object = object_of(call, subnet_properties());
        object["type"] = "subnet";
        object["vnet"] = vnet;
        check_subnet(config, id, object);
        if (has_ipam(config, vnet)) {
          ipam.add_subnet(subnet_of(id, object));
          book_gateway(ipam, subnet_of(id, object));
        }
        config.subnets[id] = std::move(object);
      });
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::change_subnet(Call& call) {
  const auto& vnet = call.text("vnet");
  vnet_at(sdn_.written().vnets, vnet);
  sdn_.change(token_of(call), "update sdn subnet object failed",
              [&](SdnConfig& config, Ipam& ipam) {
                const auto& id = call.text("subnet");
                auto object = subnet_at(config.subnets, id);
                check_digest(call, config.subnets);
                const Subnet old = subnet_of(id, object);
                const auto change = object_of(call, subnet_properties());
                remove_properties(object, change, call.words("delete"), subnet_properties());
                for (const auto& [key, value] : change) object[key] = value;
                check_subnet(config, id, object);
                const Subnet now = subnet_of(id, object);
                if (has_ipam(config, vnet) && now.gateway != old.gateway) {
                  book_gateway(ipam, now);
                  if (!old.gateway.empty()) free_gateway(ipam, old);
                }
                config.subnets[id] = std::move(object);
              });
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::remove_subnet(Call& call) {
  const auto& vnet = call.text("vnet");
  vnet_at(sdn_.written().vnets, vnet);
  sdn_.change(token_of(call), "delete sdn subnet object failed",
              [&](SdnConfig& config, Ipam& ipam) {
                const auto& id = call.text("subnet");
                const auto& object = subnet_at(config.subnets, id);
                if (has_ipam(config, vnet)) ipam.remove_subnet(subnet_of(id, object));
                config.subnets.erase(id);
              });
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::book_ip(Call& call) {
  sdn_.book(call.text("vnet"), call.text("ip"), call.text_or("mac", ""));
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::move_ip(Call& call) {
  sdn_.move(call.text("vnet"), call.text("ip"), call.text_or("mac", ""),
            static_cast<int>(call.number_or("vmid", 0)));
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::free_ip(Call& call) {
  sdn_.free(call.text("vnet"), call.text("ip"), call.text_or("mac", ""));
  co_return nullptr;
}

awaitable<json::value> SdnRoutes::ipams(Call& call) {
  json::array out;
  if (call.text_or("type", "pve") == "pve") {
    out.push_back(json::object{{"ipam", "pve"}, {"type", "pve"}, {"digest", empty_digest}});
  }
  co_return out;
}

awaitable<json::value> SdnRoutes::ipam(Call& call) {
  const auto& id = call.text("ipam");
  if (id != "pve") throw ApiError{500, fmt::format("sdn '{}' does not exist\n", id)};
  co_return json::object{{"ipam", "pve"}, {"type", "pve"}, {"digest", empty_digest}};
}

awaitable<json::value> SdnRoutes::ipam_status(Call& call) {
  if (call.text("ipam") != "pve") throw ApiError{500, "Currently only PVE IPAM is supported!"};
  const auto& config = sdn_.running();
  json::array out;
  for (const auto& [zone_id, networks] : sdn_.ipam().zones()) {
    const auto zone = config.zones.find(zone_id);
    if (zone == config.zones.end() || !zone->second.contains("ipam") ||
        !zone->second.contains("dhcp")) {
      continue;
    }
    for (const auto& [cidr, addresses] : networks) {
      const auto vnet = vnet_of(config, zone_id, cidr);
      if (vnet.empty()) continue;
      for (const auto& [ip, booking] : addresses) {
        json::object entry{{"zone", zone_id}, {"subnet", cidr}, {"vnet", vnet}, {"ip", ip}};
        if (booking.gateway) entry["gateway"] = 1;
        if (booking.vmid > 0) entry["vmid"] = booking.vmid;
        if (!booking.hostname.empty()) entry["hostname"] = booking.hostname;
        if (!booking.mac.empty()) entry["mac"] = booking.mac;
        out.push_back(std::move(entry));
      }
    }
  }
  co_return out;
}

awaitable<json::value> SdnRoutes::node_index(Call&) {
  co_return names("name", {"fabrics", "vnets", "zones"});
}

awaitable<json::value> SdnRoutes::node_zones(Call&) {
  json::array out;
  for (const auto& [id, zone] : sdn_.running().zones) {
    if (!sdn_.is_local(zone)) continue;
    bool good = true;
    for (const auto& [vnet, object] : sdn_.running().vnets) {
      if (json::text_or(object, "zone") == id) good = good && networks_.problem(vnet).empty();
    }
    out.push_back(json::object{{"zone", id}, {"status", good ? "available" : "error"}});
  }
  co_return out;
}

awaitable<json::value> SdnRoutes::node_zone(Call&) {
  co_return names("subdir", {"content", "bridges", "ip-vrf"});
}

awaitable<json::value> SdnRoutes::node_zone_content(Call& call) {
  json::array out;
  for (const auto& [id, vnet] : sdn_.running().vnets) {
    if (json::text_or(vnet, "zone") != call.text("zone")) continue;
    const auto problem = networks_.problem(id);
    json::object entry{{"vnet", id}, {"status", problem.empty() ? "available" : "error"}};
    entry["statusmsg"] = problem.empty() ? json::value(nullptr) : json::value(problem);
    out.push_back(std::move(entry));
  }
  co_return out;
}

awaitable<json::value> SdnRoutes::interfaces(Call& call) {
  const auto type = call.text_or("type", "");
  const auto wants = [&](std::initializer_list<std::string_view> types) {
    return std::find(types.begin(), types.end(), type) != types.end();
  };
  json::array out;
  if (wants({"vnet", "any_bridge", "include_sdn"})) {
    for (const auto& [id, vnet] : sdn_.running().vnets) {
      const auto zone = sdn_.running().zones.find(json::text_or(vnet, "zone"));
      if (zone == sdn_.running().zones.end() || !sdn_.is_local(zone->second)) continue;
      json::object entry{{"iface", id}, {"type", "vnet"}, {"active", "1"}};
      entry["ipam"] = zone->second.contains("ipam") ? 1 : 0;
      entry["vlanaware"] = json::flag_or(vnet, "vlanaware", false) ? 1 : 0;
      const auto* alias = vnet.if_contains("alias");
      entry["comments"] = alias == nullptr ? json::value(nullptr) : *alias;
      out.push_back(std::move(entry));
    }
  }
  if (wants({"", "bridge", "any_bridge", "any_local_bridge", "include_sdn"})) {
    out.push_back(bridge_entry());
  }
  co_return out;
}

awaitable<json::value> SdnRoutes::interface(Call& call) {
  if (call.text("iface") == default_bridge) {
    auto entry = bridge_entry();
    entry.erase("iface");
    co_return entry;
  }
  throw ApiError::parameter("iface", "interface does not exist");
}

}  // namespace px::node
