#include "pve/sdn.hpp"

#include "pve/once.hpp"
#include "pve/tasks.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace px::pve::sdn {

using namespace std::chrono_literals;

namespace {

State state_of(const json::value& entry) {
  const auto text = json::text_or(entry, "state");
  if (text == "new") return State::created;
  if (text == "changed") return State::changed;
  return text == "deleted" ? State::deleted : State::applied;
}

/// A value as it will be: with ?pending=1 what is new or changed stands under `pending`.
std::string text_of(const json::value& entry, std::string_view key) {
  const auto* pending = json::find(entry, "pending");
  return json::text_or(pending != nullptr && json::find(*pending, key) ? *pending : entry, key);
}

awaitable<json::value> list(Client& client, std::string path) {
  auto data =
      co_await client.get(std::move(path), Params{}.add("pending", true), {.load = Load::light});
  if (!data.is_array()) data = json::array{};
  co_return data;
}

CallOptions options_of(const Change& change, std::string doing) {
  return {.deadline = change.deadline, .wait_for_lock = true, .doing = std::move(doing)};
}

awaitable<void> remove(Client& client, std::string path, Change change, std::string doing) {
  co_await remove_if_there(client, std::move(path), Params{}.add("lock-token", change.token),
                           options_of(change, std::move(doing)));
}

std::string vnet_path(const VnetId& vnet, std::string_view rest = {}) {
  return fmt::format("/cluster/sdn/vnets/{}{}", vnet, rest);
}

/// "zone1-10.20.0.0-24" is 10.20.0.0/24.
std::string cidr_of(std::string_view subnet_id) {
  const auto first = subnet_id.find('-');
  const auto last = subnet_id.rfind('-');
  if (first == std::string_view::npos || first == last) {
    throw Error{Errc::protocol, fmt::format("\"{}\" is no subnet's id", subnet_id)};
  }
  return fmt::format("{}/{}", subnet_id.substr(first + 1, last - first - 1),
                     subnet_id.substr(last + 1));
}

std::string id_of(const NewSubnet& subnet) {
  std::string net = subnet.cidr;
  std::replace(net.begin(), net.end(), '/', '-');
  return fmt::format("{}-{}", subnet.zone, net);
}

}  // namespace

// --- zones ---------------------------------------------------------------------------------------

awaitable<std::vector<Zone>> zones(Client& client) {
  const auto data = co_await list(client, "/cluster/sdn/zones");
  std::vector<Zone> out;
  for (const auto& entry : data.get_array()) {
    out.push_back({ZoneId::parse(json::text_at(entry, "zone")), text_of(entry, "type"),
                   text_of(entry, "dhcp"), state_of(entry)});
  }
  co_return out;
}

awaitable<void> create_zone(Client& client, ZoneId zone, bool with_dhcp, Change change,
                            Options more) {
  Params params;
  params.add("type", "simple").add("zone", zone);
  if (with_dhcp) params.add("ipam", "pve").add("dhcp", "dnsmasq");
  params.add_all(more);
  params.add("lock-token", change.token);
  auto is_there = [&client, &zone]() -> awaitable<bool> {
    const auto all = co_await zones(client);
    co_return std::ranges::any_of(all, [&](const Zone& other) { return other.id == zone; });
  };
  co_await create_once(client, "/cluster/sdn/zones", std::move(params),
                       options_of(change, fmt::format("create zone {}", zone)), is_there);
}

awaitable<void> remove_zone(Client& client, ZoneId zone, Change change) {
  co_await remove(client, fmt::format("/cluster/sdn/zones/{}", zone), change,
                  fmt::format("remove zone {}", zone));
}

// --- VNets ---------------------------------------------------------------------------------------

awaitable<std::vector<Vnet>> vnets(Client& client) {
  const auto data = co_await list(client, "/cluster/sdn/vnets");
  std::vector<Vnet> out;
  for (const auto& entry : data.get_array()) {
    out.push_back({VnetId::parse(json::text_at(entry, "vnet")),
                   ZoneId::parse(text_of(entry, "zone")), text_of(entry, "alias"),
                   state_of(entry)});
  }
  co_return out;
}

awaitable<void> create_vnet(Client& client, VnetId vnet, ZoneId zone, std::string alias,
                            Change change, Options more) {
  Params params;
  params.add("vnet", vnet).add("zone", zone).add_if(!alias.empty(), "alias", alias).add_all(more);
  params.add("lock-token", change.token);
  auto is_there = [&]() -> awaitable<bool> {
    const auto all = co_await vnets(client);
    co_return std::ranges::any_of(all, [&](const Vnet& other) {
      return other.id == vnet && other.zone == zone && other.alias == alias;
    });
  };
  co_await create_once(client, "/cluster/sdn/vnets", std::move(params),
                       options_of(change, fmt::format("create VNet {}", vnet)), is_there);
}

awaitable<void> remove_vnet(Client& client, VnetId vnet, Change change) {
  co_await remove(client, vnet_path(vnet), change, fmt::format("remove VNet {}", vnet));
}

// --- subnets -------------------------------------------------------------------------------------

awaitable<std::vector<Subnet>> subnets(Client& client, VnetId vnet) {
  json::value data;
  try {
    data = co_await list(client, vnet_path(vnet, "/subnets"));
  } catch (const Error& error) {
    if (error.kind != Errc::not_found) throw;
    data = json::array{};
  }
  std::vector<Subnet> out;
  for (const auto& entry : data.get_array()) {
    auto id = json::text_at(entry, "subnet");
    auto cidr = cidr_of(id);
    out.push_back(
        {std::move(id), vnet, std::move(cidr), text_of(entry, "gateway"), state_of(entry)});
  }
  co_return out;
}

awaitable<void> create_subnet(Client& client, NewSubnet subnet, Change change) {
  Params params;
  params.add("type", "subnet").add("subnet", subnet.cidr);
  params.add_if(!subnet.gateway.empty(), "gateway", subnet.gateway);
  params.add_if(subnet.snat, "snat", true);
  std::vector<std::string> ranges;
  for (const auto& range : subnet.dhcp_ranges) {
    ranges.push_back(fmt::format("start-address={},end-address={}", range.start, range.end));
  }
  params.add_list("dhcp-range", std::move(ranges)).add_all(subnet.more);
  params.add("lock-token", change.token);
  auto is_there = [&]() -> awaitable<bool> {
    const auto all = co_await subnets(client, subnet.vnet);
    co_return std::ranges::any_of(all,
                                  [&](const Subnet& other) { return other.id == id_of(subnet); });
  };
  co_await create_once(
      client, vnet_path(subnet.vnet, "/subnets"), std::move(params),
      options_of(change, fmt::format("create subnet {} of VNet {}", subnet.cidr, subnet.vnet)),
      is_there);
}

awaitable<void> remove_subnet(Client& client, Subnet subnet, Change change) {
  co_await remove(client, vnet_path(subnet.vnet, "/subnets/" + percent_encode(subnet.id)), change,
                  fmt::format("remove subnet {} of VNet {}", subnet.cidr, subnet.vnet));
}

// --- addresses -----------------------------------------------------------------------------------

awaitable<bool> has_ipam(Client& client) {
  const auto data = co_await client.get("/cluster/sdn/ipams", {}, {.load = Load::light});
  co_return data.is_array() && std::ranges::any_of(data.get_array(), [](const auto& entry) {
    return json::text_or(entry, "ipam") == "pve";
  });
}

awaitable<std::vector<Booking>> bookings(Client& client) {
  const auto data = co_await client.get("/cluster/sdn/ipams/pve/status");
  std::vector<Booking> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    // Other plugins' leftovers may name no VNet.
    if (json::text_or(entry, "vnet").empty()) continue;
    Booking booking{ZoneId::parse(json::text_at(entry, "zone")),
                    VnetId::parse(json::text_at(entry, "vnet")),
                    json::text_or(entry, "subnet"),
                    json::text_at(entry, "ip"),
                    json::text_or(entry, "mac"),
                    std::nullopt,
                    json::flag_or(entry, "gateway", false)};
    const auto vmid = json::number_or(entry, "vmid", 0);
    if (vmid != 0) booking.vmid = Vmid::from_number(vmid);
    out.push_back(std::move(booking));
  }
  co_return out;
}

awaitable<void> move_booking(Client& client, ZoneId zone, VnetId vnet, std::string mac,
                             std::string ip, Vmid vmid, Deadline deadline) {
  std::optional<Error> failure;
  try {
    co_await client.put(vnet_path(vnet, "/ips"),
                        Params{}.add("zone", zone).add("mac", mac).add("ip", ip).add("vmid", vmid),
                        {.deadline = deadline,
                         .repeatable = true,
                         .wait_for_lock = true,
                         .doing = fmt::format("book {} for {} of VM {}", ip, mac, vmid)});
  } catch (const Error& error) {
    // A repeat finds its own address taken.
    if (error.kind != Errc::already_exists) throw;
    failure = error;
  }
  if (!failure) co_return;
  for (const auto& booking : co_await bookings(client)) {
    if (booking.vnet == vnet && booking.ip == ip && booking.mac == mac) co_return;
  }
  throw *failure;
}

awaitable<void> remove_booking(Client& client, Booking booking, Deadline deadline) {
  co_await remove_if_there(client, vnet_path(booking.vnet, "/ips"),
                           Params{}
                               .add("zone", booking.zone)
                               .add("ip", booking.ip)
                               .add_if(!booking.mac.empty(), "mac", booking.mac),
                           options_of({.deadline = deadline},
                                      fmt::format("free {} of VNet {}", booking.ip, booking.vnet)));
}

// --- applying ------------------------------------------------------------------------------------

std::vector<std::string> failures_of_apply(const std::vector<std::string>& log) {
  std::vector<std::string> out;
  // "command 'ifreload -a' failed: exit code 1", "cannot reload with missing 'dnsmasq' package",
  // each behind the line of its node (pve-network SDN.pm, Dhcp/Dnsmasq.pm).
  std::string node;
  for (const auto& line : log) {
    if (line.ends_with(": reloading network config")) {
      node = line.substr(0, line.find(':'));
    }
    const bool bad = line.find("failed") != std::string::npos ||
                     line.find("missing 'dnsmasq'") != std::string::npos ||
                     line.find("install the 'dnsmasq'") != std::string::npos;
    if (bad) out.push_back(node.empty() ? line : fmt::format("node {}: {}", node, line));
  }
  return out;
}

awaitable<void> apply(Client& client, Lock& lock, Deadline deadline) {
  const std::string doing = "apply the SDN";
  const auto& token = lock.token();
  // Applying twice is harmless; a token that has been given back is not looked at.
  const auto data = co_await client.put(
      "/cluster/sdn",
      Params{}.add("lock-token", token).add_if(token.has_value(), "release-lock", true),
      {.deadline = deadline, .repeatable = true, .wait_for_lock = true, .doing = doing});
  if (!data.is_string()) {
    throw Error{Errc::protocol, "the answer names no task"}.while_doing(doing);
  }
  lock.note_end();
  const auto upid = Upid::parse(std::string_view{data.get_string()});
  co_await wait_for_task(client, upid, deadline, doing);
  constexpr int all_lines = 1000;
  const auto failures = failures_of_apply(co_await task_log_end(client, upid, all_lines));
  if (failures.empty()) co_return;
  const bool dnsmasq = std::ranges::any_of(
      failures, [](const auto& line) { return line.find("dnsmasq") != line.npos; });
  Error error{Errc::task_failed, fmt::format("{}", fmt::join(failures, "; "))};
  error.doing = doing;
  error.sent = Sent::answered;
  error.host = client.instance().host;
  error.task_log = failures;
  if (dnsmasq) {
    error.hint =
        "On each node: apt install dnsmasq && systemctl disable --now dnsmasq (DHCP of the SDN "
        "needs the program, not its default service)";
  }
  throw error;
}

awaitable<std::vector<ZoneStatus>> zone_states(Client& client, NodeName node) {
  const auto data = co_await client.get(fmt::format("/nodes/{}/sdn/zones", node));
  std::vector<ZoneStatus> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    out.push_back({ZoneId::parse(json::text_at(entry, "zone")), json::text_or(entry, "status")});
  }
  co_return out;
}

awaitable<std::vector<VnetStatus>> status(Client& client, NodeName node, ZoneId zone) {
  const auto data = co_await client.get(fmt::format("/nodes/{}/sdn/zones/{}/content", node, zone));
  std::vector<VnetStatus> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    out.push_back({VnetId::parse(json::text_at(entry, "vnet")), json::text_or(entry, "status"),
                   json::text_or(entry, "statusmsg")});
  }
  co_return out;
}

}  // namespace px::pve::sdn
