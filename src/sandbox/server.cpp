#include "sandbox/server.hpp"

#include "pve/access.hpp"
#include "pve/cluster.hpp"
#include "pve/nodes.hpp"
#include "sandbox/host.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace px::sandbox {

using namespace std::chrono_literals;

namespace {

/// For so long the numbers after a free one are taken for free, too: a sample's VMs start together.
constexpr auto vmids_in_a_row = 5s;

constexpr std::int64_t bytes_of_mib = 1 << 20;

/// What others' VM or container holds.
Share share_of(const pve::cluster::GuestResource& guest) {
  using State = pve::cluster::GuestResource::State;
  if (guest.is_template) return {};
  // Another process's sample that has just been cloned: it is as large as most.
  if (guest.state == State::unknown) {
    const VmSpec usual;
    return {std::int64_t{usual.ram_mb} * bytes_of_mib, usual.vcpus};
  }
  const bool is_ours = std::ranges::find(guest.tags, common_tag) != guest.tags.end();
  // Another process's sample is about to start.
  if (guest.state == State::stopped && !is_ours) return {};
  return {guest.memory, guest.cores};
}

/// The nodes that samples may run on.
std::vector<pve::NodeName> usable_nodes(const pve::Instance& instance,
                                        const std::vector<pve::nodes::NodeSummary>& there) {
  std::vector<pve::NodeName> out;
  std::vector<std::string> names;
  for (const auto& node : there) {
    names.push_back(node.name.text());
    const bool wanted = instance.any_node() || node.name.text() == instance.node;
    if (wanted && node.online) out.push_back(node.name);
  }
  if (!out.empty()) return out;
  if (!instance.any_node() && std::ranges::find(names, instance.node) == names.end()) {
    throw_bad_input("PROXMOX_NODE", instance.node,
                    fmt::format("the nodes of {} are: {}", instance.host, fmt::join(names, ", ")));
  }
  throw Error{Errc::unavailable,
              instance.any_node()
                  ? fmt::format("no node of {} is online", instance.host)
                  : fmt::format("node {} of {} is offline", instance.node, instance.host)};
}

}  // namespace

awaitable<std::vector<pve::NodeName>> find_nodes(pve::Client& client) {
  co_return usable_nodes(client.instance(), co_await pve::nodes::list(client));
}

Server::Server(const asio::any_io_executor& executor, asio::thread_pool& pool,
               pve::Instance instance, const RunId& run, Environment environment)
    : client_{executor, pool, std::move(instance)},
      run_{run},
      environment_{std::move(environment)} {}

Server::~Server() = default;

awaitable<void> Server::connect() {
  const auto permit = co_await connect_turn_.acquire();
  if (is_connected()) co_return;
  auto nodes = co_await find_nodes(client_);
  leases_.emplace(client_, nodes, run_.text);
  for (auto& node : nodes) {
    hosts_.push_back(std::make_unique<Host>(*this, std::move(node), run_, environment_));
  }
}

std::vector<std::shared_ptr<Host>> Server::hosts() {
  std::vector<std::shared_ptr<Host>> out;
  for (const auto& host : hosts_) out.emplace_back(shared_from_this(), host.get());
  return out;
}

std::vector<pve::NodeName> Server::nodes() const {
  std::vector<pve::NodeName> out;
  for (const auto& host : hosts_) out.push_back(host->node());
  return out;
}

int Server::samples() const {
  int out = 0;
  for (const auto& host : hosts_) out += host->room.samples;
  return out;
}

bool Server::knows_room(std::chrono::seconds age) const {
  const auto now = std::chrono::steady_clock::now();
  return looked_at_room_ != SteadyTime{} && now - looked_at_room_ < age;
}

awaitable<void> Server::look_at_room(std::chrono::seconds age,
                                     std::function<std::vector<std::uint32_t>()> own) {
  const auto permit = co_await room_turn_.acquire();
  if (knows_room(age)) co_return;
  const auto now = std::chrono::steady_clock::now();
  // Some come and some go while the server answers.
  auto ours = own();
  const auto seen = co_await pve::cluster::resources(client_);
  std::ranges::copy(own(), std::back_inserter(ours));
  looked_at_room_ = now;
  for (const auto& host : hosts_) {
    const auto node =
        std::ranges::find(seen.nodes, host->node(), &pve::cluster::NodeResource::name);
    host->is_online = node != seen.nodes.end() && node->online;
    if (!host->is_online) continue;
    auto& room = host->room;
    room.size = {node->memory, node->cores};
    room.reserve = instance().memory_reserve_mb ? *instance().memory_reserve_mb * bytes_of_mib
                                                : default_reserve(node->memory);
    room.others = {};
    for (const auto& guest : seen.guests) {
      if (guest.node != host->node()) continue;
      if (std::ranges::find(ours, guest.vmid) != ours.end()) continue;
      room.others += share_of(guest);
    }
  }
}

awaitable<pve::sdn::Vnet> Server::existing_vnet(const network::Card& card,
                                                const network::Plan& planned) {
  const auto permit = co_await look_up_.acquire();
  const auto find = [&] {
    return std::ranges::find(existing_vnets_, card.alias, &pve::sdn::Vnet::alias);
  };
  if (find() == existing_vnets_.end()) {
    existing_vnets_ = co_await pve::sdn::vnets(client_);
    // What belongs to samples is nobody else's.
    std::erase_if(existing_vnets_, [](const pve::sdn::Vnet& vnet) {
      return vnet.alias.empty() || network::run_of_alias(vnet.alias);
    });
  }
  if (find() != existing_vnets_.end()) co_return *find();
  std::vector<std::string> known;
  for (const auto& vnet : planned.vnets) {
    if (!vnet.alias.empty()) known.push_back(vnet.alias);
  }
  for (const auto& vnet : existing_vnets_) known.push_back(vnet.alias);
  throw_bad_input(card.field + ".vnet_alias", card.alias,
                  known.empty()
                      ? fmt::format("no VNet in sdn_config or on {} has an alias", instance().host)
                      : fmt::format("the VNets of sdn_config and of {} are: {}", instance().host,
                                    fmt::join(known, ", ")));
}

namespace {

awaitable<std::string> find_firewall_trouble(pve::Client& client) {
  try {
    if (!co_await pve::firewall::is_enabled(client)) {
      co_return "the datacenter's firewall is off";
    }
  } catch (const Error& error) {
    if (error.kind != Errc::forbidden) throw;
    co_return "whether the datacenter's firewall is on can't be seen without Sys.Audit on /";
  }
  const auto permissions = co_await pve::access::permissions(client);
  const bool may = pve::access::holds(permissions, "/", "Sys.Modify");
  co_return may ? "" : "security groups can't be made without Sys.Modify on /";
}

}  // namespace

awaitable<std::string> Server::firewall_trouble() {
  const auto permit = co_await look_up_.acquire();
  if (!firewall_trouble_) firewall_trouble_ = co_await find_firewall_trouble(client_);
  co_return *firewall_trouble_;
}

awaitable<network::Plan> Server::possible(network::Plan plan) {
  if (plan.vnets.empty() || !plan.isolation.closed) co_return plan;
  const auto trouble = co_await firewall_trouble();
  if (!trouble.empty()) plan.isolation = {.closed = false};
  co_return plan;
}

awaitable<std::vector<pve::firewall::Rule>> Server::rules_among_strangers(
    std::optional<pve::VnetId> vnet, const std::vector<network::Cidr>& foreign) {
  std::vector<network::WireSubnet> subnets;
  if (vnet) {
    for (const auto& subnet : co_await pve::sdn::subnets(client_, *vnet)) {
      network::WireSubnet wire{network::Cidr::around("subnet", subnet.cidr)};
      if (!subnet.gateway.empty()) {
        wire.gateway = network::parse_address("gateway", subnet.gateway);
        wire.snat = wire.dhcp = true;  // where it is not so, nothing answers
      }
      subnets.push_back(std::move(wire));
    }
  }
  co_return network::rules_among_strangers(subnets, foreign);
}

awaitable<pve::Vmid> Server::next_vmid(bool was_taken) {
  const auto permit = co_await look_up_.acquire();
  const auto now = std::chrono::steady_clock::now();
  const bool fresh = last_vmid_ && now - asked_for_vmid_ < vmids_in_a_row;
  if (!fresh || was_taken) {
    const auto proposed = co_await pve::cluster::next_id(client_);
    asked_for_vmid_ = now;
    if (!last_vmid_ || proposed > *last_vmid_) {
      last_vmid_ = proposed;
      co_return proposed;
    }
  }
  // VMs that start side by side would all be proposed the same one.
  last_vmid_ = pve::Vmid::from_number(std::int64_t{last_vmid_->number()} + 1);
  co_return *last_vmid_;
}

}  // namespace px::sandbox
