#include "node/network/sdn.hpp"

#include "support/bytes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace px::node {

namespace {

constexpr std::string_view state_file = "sdn.json";

/// How the real server puts a refusal of a nested check into one text (exchange 12).
std::string one_text(const ApiError& error) {
  if (error.errors.empty()) return error.message;
  std::string text = fmt::format("{} {}\n", error.status, error.message);
  for (const auto& [name, message] : error.errors) text += fmt::format("{}: {}\n", name, message);
  return text;
}

/// RFC 9562, version 7: milliseconds since 1970, then random bits.
std::string new_token() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const auto random = random_hex(20);
  const auto time = fmt::format("{:012x}", ms);
  return fmt::format("{}-{}-7{}-8{}-{}", time.substr(0, 8), time.substr(8), random.substr(0, 3),
                     random.substr(3, 3), random.substr(6, 12));
}

bool has_changes(const SdnObjects& running, const SdnObjects& written) {
  const auto view = pending_view(running, written);
  return std::any_of(view.begin(), view.end(),
                     [](const auto& object) { return object.second.contains("state"); });
}

}  // namespace

NicPlace NicPlace::parse(std::string_view option) {
  const Properties nic{option};
  // MODEL=MAC comes first in what is kept.
  return {nic.get("bridge", std::string{default_bridge}), nic.items().front().second};
}

bool is_nic_option(std::string_view name) {
  return name.starts_with("net") && name.size() > 3 &&
         name.find_first_not_of("0123456789", 3) == std::string_view::npos;
}

Sdn::Sdn(State& state, std::string node) : state_{state}, node_{std::move(node)} {
  load();
}

void Sdn::load() {
  const auto text = state_.read(state_file);
  if (!text) return;
  const auto stored = json::parse(*text, state_file);
  written_ = SdnConfig::from_json(stored.at("written"));
  running_ = SdnConfig::from_json(stored.at("running"));
  lock_ = json::text_or(stored, "lock");
  ipam_ = Ipam::from_json(stored.at("ipam"));
}

void Sdn::save() const {
  const json::object stored{{"written", written_.to_json()},
                            {"running", running_.to_json()},
                            {"lock", lock_},
                            {"ipam", ipam_.to_json()}};
  state_.write(state_file, boost::json::serialize(stored));
}

void Sdn::check_lock(const std::optional<std::string>& token) const {
  if (!lock_.empty() && token != lock_) throw ApiError{500, "invalid lock token provided!"};
}

void Sdn::change(const std::optional<std::string>& token, const std::string& failure,
                 const Change& change) {
  SdnConfig written = written_;
  Ipam ipam = ipam_;
  try {
    check_lock(token);
    change(written, ipam);
  } catch (const ApiError& error) {
    throw ApiError{500, fmt::format("{}: {}", failure, one_text(error))};
  }
  written_ = std::move(written);
  ipam_ = std::move(ipam);
  save();
}

std::string Sdn::lock(bool allow_pending) {
  const bool pending = has_changes(running_.zones, written_.zones) ||
                       has_changes(running_.vnets, written_.vnets) ||
                       has_changes(running_.subnets, written_.subnets);
  change({}, "could not acquire lock for SDN config", [&](SdnConfig&, Ipam&) {
    if (pending && !allow_pending) throw ApiError{500, "configuration has pending changes"};
  });
  lock_ = new_token();
  save();
  return lock_;
}

void Sdn::release_lock(const std::optional<std::string>& token, bool force) {
  if (!force) change(token, "could not release lock", [](SdnConfig&, Ipam&) {});
  lock_.clear();
  save();
}

void Sdn::commit(const std::optional<std::string>& token, bool release) {
  change(token, "could not commit SDN config", [](SdnConfig&, Ipam&) {});
  running_ = written_;
  if (token && release) lock_.clear();
  save();
}

void Sdn::rollback(const std::optional<std::string>& token, bool release) {
  change(token, "could not rollback SDN configuration",
         [this](SdnConfig& written, Ipam&) { written = running_; });
  if (token && release) lock_.clear();
  save();
}

void Sdn::book(const std::string& vnet, const std::string& ip, const std::string& mac) {
  const auto subnets = subnets_of(running_, vnet);
  Ipam::Booking booking;
  booking.mac = mac;
  ipam_.add(subnet_for(subnets, ip), ip, booking);
  save();
}

void Sdn::move(const std::string& vnet, const std::string& ip, const std::string& mac, int vmid) {
  const auto subnets = subnets_of(running_, vnet);
  const auto address = parse_ip(ip);
  std::string old;
  if (has_dhcp(vnet)) {
    const auto known = ipam_.of_mac(mac, json::text_or(written_.vnets.at(vnet), "zone"));
    old = address && address->is_v6() ? known.v6 : known.v4;
  }
  const Ipam::Booking booking{.vmid = vmid, .hostname = {}, .mac = mac};
  ipam_.remove(subnet_for(subnets, old), old, mac);
  try {
    ipam_.add(subnet_for(subnets, ip), ip, booking);
  } catch (const ApiError&) {
    // The old address comes back, for the VM that was named here (exchange 24).
    ipam_.add(subnet_for(subnets, old), old, booking);
    save();
    throw;
  }
  save();
}

void Sdn::free(const std::string& vnet, const std::string& ip, const std::string& mac) {
  const auto subnets = subnets_of(running_, vnet);
  ipam_.remove(subnet_for(subnets, ip), ip, mac);
  save();
}

bool Sdn::has_dhcp(const std::string& vnet) const {
  const auto found = written_.vnets.find(vnet);
  if (found == written_.vnets.end()) return false;
  const auto zone = written_.zones.find(json::text_or(found->second, "zone"));
  return zone != written_.zones.end() && zone->second.contains("ipam") &&
         zone->second.contains("dhcp");
}

void Sdn::join_version(const NicPlace& nic, const Ipam::Booking& booking, bool v4) {
  bool has_subnet = false;
  for (const auto& subnet : subnets_of(running_, nic.bridge)) {
    if (subnet.cidr.is_v4() != v4) continue;
    has_subnet = true;
    if (!ipam_.add_next_free(subnet, booking).empty()) return;
  }
  if (!has_subnet) return;
  throw ApiError{500,
                 fmt::format("can't find any free ip in zone {} for IPv{}",
                             json::text_or(written_.vnets.at(nic.bridge), "zone"), v4 ? 4 : 6)};
}

void Sdn::join(const NicPlace& nic, const std::string& hostname, int vmid) {
  if (!has_dhcp(nic.bridge)) return;
  const Ipam before = ipam_;
  try {
    for (const bool v4 : {true, false}) {
      join_version(nic, {.vmid = vmid, .hostname = hostname, .mac = nic.mac}, v4);
    }
  } catch (const ApiError&) {
    ipam_ = before;
    throw;
  }
  save();
}

void Sdn::leave(const NicPlace& nic) {
  if (!has_dhcp(nic.bridge)) return;
  const auto known = ipam_.of_mac(nic.mac, json::text_or(written_.vnets.at(nic.bridge), "zone"));
  const auto subnets = subnets_of(running_, nic.bridge);
  for (const auto& ip : {known.v4, known.v6}) {
    if (ip.empty()) continue;
    try {
      ipam_.remove(subnet_for(subnets, ip), ip, nic.mac);
    } catch (const ApiError& error) {
      // Somebody freed it by hand; the real server goes on with a line in its log, too.
      log::debug("address of {}: {}", nic.mac, error.message);
    }
  }
  save();
}

void Sdn::confirm(const NicPlace& nic, const std::string& hostname, int vmid) {
  if (!has_dhcp(nic.bridge)) return;
  const auto known = ipam_.of_mac(nic.mac, json::text_or(written_.vnets.at(nic.bridge), "zone"));
  for (const bool v4 : {true, false}) {
    if (!(v4 ? known.v4 : known.v6).empty()) continue;
    join_version(nic, {.vmid = vmid, .hostname = hostname, .mac = nic.mac}, v4);
  }
  save();
}

void Sdn::join_all(const Options& options, int vmid, const std::function<void(std::string)>& warn) {
  for (const auto& [name, value] : options) {
    if (!is_nic_option(name)) continue;
    try {
      join(NicPlace::parse(value), option_or(options, "name"), vmid);
    } catch (const ApiError& error) {
      warn(error.message);
    }
  }
}

void Sdn::leave_all(const Options& options) {
  for (const auto& [name, value] : options) {
    if (is_nic_option(name)) leave(NicPlace::parse(value));
  }
}

void Sdn::check_bridge(const std::string& bridge) const {
  if (bridge == default_bridge) return;
  const auto vnet = running_.vnets.find(bridge);
  if (vnet != running_.vnets.end()) {
    const auto zone = running_.zones.find(json::text_or(vnet->second, "zone"));
    if (zone != running_.zones.end() && is_local(zone->second)) return;
  }
  throw ApiError{500, fmt::format("bridge '{}' does not exist", bridge)};
}

bool Sdn::is_local(const json::object& zone) const {
  const auto nodes = json::text_or(zone, "nodes");
  return nodes.empty() || ("," + nodes + ",").find("," + node_ + ",") != std::string::npos;
}

}  // namespace px::node
