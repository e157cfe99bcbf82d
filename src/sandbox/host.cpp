#include "sandbox/host.hpp"

#include "network/permanent.hpp"
#include "pve/access.hpp"
#include "pve/cluster.hpp"
#include "pve/firewall.hpp"
#include "pve/nodes.hpp"
#include "pve/pools.hpp"
#include "pve/storage.hpp"
#include "sandbox/life_sign.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::sandbox {

using namespace std::chrono_literals;

namespace {

/// For so long the numbers after a free one are taken for free, too: a sample's VMs start together.
constexpr auto vmids_in_a_row = 5s;

constexpr auto uplink_limit = 3min;

std::string template_note(const RunId& run) {
  return fmt::format(
      "Template made by Proxmox Sandbox; the VMs of Inspect samples are cloned from it.\n\n"
      "inspect-run: {}\n",
      run.text);
}

}  // namespace

Host::Host(const asio::any_io_executor& executor, asio::thread_pool& pool, pve::Instance instance,
           const RunId& run, const Environment& environment)
    : client_{executor, pool, std::move(instance)},
      node_{pve::NodeName::parse(client_.instance().node)},
      templates_{client_,
                 node_,
                 client_.instance().image_storage,
                 run.text,
                 template_note(run),
                 [environment](const std::string& note) {
                   const auto mark = find_mark(note);
                   return mark && has_ended(life_of(mark->run, environment).life);
                 },
                 [this] { return uplink(); }},
      seeds_{client_, node_},
      leases_{client_, node_, run.text} {}

awaitable<std::string> Host::uplink() {
  const auto permit = co_await uplink_turn_.acquire();
  co_return (co_await network::permanent_vnet(client_, Deadline::after(uplink_limit))).text();
}

awaitable<void> Host::check() {
  const auto permit = co_await look_up_.acquire();
  if (checked_) co_return;
  const auto nodes = co_await pve::nodes::list(client_);
  const auto it = std::find_if(nodes.begin(), nodes.end(),
                               [&](const auto& node) { return node.name == node_; });
  if (it == nodes.end()) {
    std::vector<std::string> names;
    for (const auto& node : nodes) names.push_back(node.name.text());
    throw_bad_input(
        "PROXMOX_NODE", node_.text(),
        fmt::format("the nodes of {} are: {}", instance().host, fmt::join(names, ", ")));
  }
  if (!it->online) {
    throw Error{Errc::unavailable, fmt::format("node {} of {} is offline", node_, instance().host)};
  }
  checked_ = true;
}

awaitable<std::optional<pve::StorageId>> Host::iso_storage() {
  const auto permit = co_await look_up_.acquire();
  if (!iso_storage_known_) {
    for (const auto& storage : co_await pve::storage::list(client_, node_)) {
      if (storage.active && storage.holds("iso")) {
        iso_storage_ = storage.id;
        break;
      }
    }
    iso_storage_known_ = true;
  }
  co_return iso_storage_;
}

awaitable<pve::VolumeId> Host::seed_of(const VmSpec& vm) {
  const auto storage = co_await iso_storage();
  if (!storage) {
    throw Error{Errc::unsupported,
                fmt::format("{}.cloud_init: no storage of node {} holds `iso`, and the guest reads "
                            "it from a CD-ROM",
                            vm.field, node_)}
        .with_hint(pve::storage::how_to_take("iso"));
  }
  co_return co_await seeds_.get(vm.seed, *storage);
}

awaitable<pve::sdn::Vnet> Host::existing_vnet(const network::Card& card,
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

awaitable<void> Host::check_places(VmSpec vm) {
  if (vm.storage) {
    std::vector<std::string> known;
    for (const auto& storage : co_await pve::storage::list(client_, node_)) {
      if (storage.holds("images")) known.push_back(storage.id.text());
    }
    if (std::ranges::find(known, *vm.storage) == known.end()) {
      throw_bad_input(
          vm.field + ".storage", *vm.storage,
          fmt::format("the storages for images of node {} are: {}", node_, fmt::join(known, ", ")));
    }
  }
  if (!vm.pool) co_return;
  std::vector<std::string> pools;
  for (const auto& pool : co_await pve::pools::list(client_)) pools.push_back(pool.id);
  if (std::ranges::find(pools, *vm.pool) != pools.end()) co_return;
  throw_bad_input(vm.field + ".pool", *vm.pool,
                  pools.empty()
                      ? "the server has no pools"
                      : fmt::format("the server's pools are: {}", fmt::join(pools, ", ")));
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

awaitable<std::string> Host::firewall_trouble() {
  const auto permit = co_await look_up_.acquire();
  if (!firewall_trouble_) firewall_trouble_ = co_await find_firewall_trouble(client_);
  co_return *firewall_trouble_;
}

awaitable<network::Plan> Host::possible(network::Plan plan) {
  if (plan.vnets.empty() || !plan.isolation.closed) co_return plan;
  const auto trouble = co_await firewall_trouble();
  if (!trouble.empty()) plan.isolation = {.closed = false};
  co_return plan;
}

awaitable<std::vector<network::Cidr>> Host::foreign_networks() {
  std::vector<network::Cidr> out;
  for (const auto& range : co_await network::host_ranges(client_, node_)) {
    out.push_back(range.cidr);
  }
  co_return out;
}

awaitable<std::vector<pve::firewall::Rule>> Host::rules_among_strangers(
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

awaitable<pve::Vmid> Host::next_vmid(bool was_taken) {
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
