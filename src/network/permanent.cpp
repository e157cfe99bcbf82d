#include "network/permanent.hpp"

#include "network/sets.hpp"
#include "pve/sdn.hpp"
#include "support/log.hpp"

#include <algorithm>

namespace px::network {

namespace sdn = pve::sdn;

namespace {

const pve::ZoneId& zone_id() {
  static const auto id = pve::ZoneId::parse(permanent_zone);
  return id;
}

const pve::VnetId& vnet_id() {
  static const auto id = pve::VnetId::parse("inspvmv0");
  return id;
}

sdn::NewSubnet its_subnet() {
  return {.vnet = vnet_id(),
          .zone = zone_id(),
          .cidr = "192.168.99.0/24",
          .gateway = "192.168.99.1",
          .snat = true,
          .dhcp_ranges = {{"192.168.99.50", "192.168.99.100"}}};
}

template <class T, class Id>
bool holds(const std::vector<T>& all, const Id& id, sdn::State state) {
  return std::ranges::any_of(all, [&](const T& it) { return it.id == id && it.state == state; });
}

/// What is missing of it, none of it applied yet. Another process may have begun with it.
awaitable<void> make(pve::Client& client, sdn::Lock& lock) {
  lock = co_await sdn::lock(client);
  const sdn::Change change{lock.token(), Deadline::after(change_limit)};
  const auto zones = co_await sdn::zones(client);
  if (std::ranges::find(zones, zone_id(), &sdn::Zone::id) == zones.end()) {
    co_await sdn::create_zone(client, zone_id(), true, change);
  }
  const auto vnets = co_await sdn::vnets(client);
  if (std::ranges::find(vnets, vnet_id(), &sdn::Vnet::id) == vnets.end()) {
    co_await sdn::create_vnet(client, vnet_id(), zone_id(), "", change);
  }
  if ((co_await sdn::subnets(client, vnet_id())).empty()) {
    co_await sdn::create_subnet(client, its_subnet(), change);
  }
  co_await sdn::apply(client, lock, change.deadline);
}

}  // namespace

awaitable<pve::VnetId> permanent_vnet(pve::Client& client) {
  const auto vnets = co_await sdn::vnets(client);
  if (!holds(vnets, vnet_id(), sdn::State::applied)) {
    log::info("making the network {}", vnet_id());
    sdn::Lock lock;
    co_await with_cleanup(make(client, lock), sdn::unlock(client, lock));
  }
  co_return vnet_id();
}

}  // namespace px::network
