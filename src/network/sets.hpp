#pragma once
#include "network/plan.hpp"
#include "pve/ids.hpp"
#include "pve/sdn.hpp"
#include "support/async.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Sets of networks on a server: what there is, making one, removing one.
namespace px::network {

/// One sample's networks as they are on a server.
struct NetworkSet {
  Plan plan;        ///< with the ranges that it has
  std::string key;  ///< of the plan that was asked for
  pve::ZoneId zone;
  std::vector<pve::VnetId> vnets;  ///< as Plan::vnets
};

/// A set of ours on a server, known by its names alone.
struct Remains {
  pve::ZoneId zone;
  std::vector<pve::VnetId> vnets;
  std::string run{};  ///< empty: without a mark, of the existing provider or half made
};
Remains remains_of(const NetworkSet& set);

/// A network that a node has an address of its own in.
struct HostRange {
  std::string owner;  ///< "vmbr0 of node pve1"
  Cidr cidr;
  std::string interface{};
};
awaitable<std::vector<HostRange>> host_ranges(pve::Client& client, pve::NodeName node);

/// Somebody's range.
struct Taken {
  Cidr cidr;
  std::string owner;  ///< "VNet abc123v0 (lan) in zone abc123z", "vmbr0 of node pve1"
  std::optional<std::string> run{};  ///< of ours, mostly another process
  std::optional<pve::ZoneId> zone{};
};

/// What a server has, pending changes included.
struct Survey {
  std::vector<pve::sdn::Zone> zones;
  std::vector<pve::sdn::Vnet> vnets;
  std::vector<Taken> taken;
  std::vector<std::string> groups{};  ///< names of security groups
};
/// SDN subnets of the cluster, and the networks of the node's own interfaces. Its routes are not in
/// the API. Errors: unsupported with a hint where the server has no SDN.
awaitable<Survey> survey(pve::Client& client, std::vector<pve::NodeName> nodes);

/// --- decisions ---------------------------------------------------------------------------------

/// new, changed or deleted; empty for what is applied.
std::string_view state_name(pve::sdn::State state);
/// Adds "zone abc (new)", unless it is applied.
void note_pending(std::vector<std::string>& out, const std::string& what, pve::sdn::State state);
/// That for each zone and VNet.
std::vector<std::string> pending_changes(const Survey& survey);
/// The ranges that are taken when these sets are gone.
std::vector<Taken> taken_without(const Survey& survey, const std::vector<Remains>& sets);
/// Prefixes whose zone, VNets and security groups don't exist, upwards from `start`, round.
std::vector<std::string> free_prefixes(const Survey& survey, std::string_view stem, int start);
/// The first that has a range of the plan, and which range that is.
struct Conflict {
  Taken taken;
  std::string field;  ///< of the plan's subnet
  Cidr cidr;
};
std::optional<Conflict> conflict_of(const Plan& plan, const std::vector<Taken>& taken);
/// Zones that are ours: all their VNets carry one run's mark; or, without any mark, zone and VNets
/// are named as ours are (docs/configuration.md). Also those whose removal was never applied, and
/// so are still there. Never the permanent `inspvmz`.
std::vector<Remains> ours_of(const std::vector<pve::sdn::Zone>& zones,
                             const std::vector<pve::sdn::Vnet>& vnets);

/// --- changes, pending until they are applied ---------------------------------------------------

/// Makes the set's zone, VNets and subnets, and for closed ones a security group for each VNet,
/// named like it. `foreign`: the server's networks, for rules_of(). already_exists: its names are
/// taken; nothing of it is left then.
awaitable<void> create(pve::Client& client, NetworkSet set, std::string run,
                       std::vector<Cidr> foreign, pve::sdn::Change change);
/// Removes sets with all that is in them, bookings of VMs that are gone and security groups
/// included. What is gone already is fine.
awaitable<void> remove(pve::Client& client, std::vector<Remains> sets, pve::sdn::Change change);

/// How long a change may take from when it has the lock.
inline constexpr std::chrono::minutes change_limit{5};

/// remove() and apply under the lock.
awaitable<void> remove_and_apply(pve::Client& client, std::vector<Remains> sets);
/// apply(), and waits until the nodes say that the sets' networks are there.
awaitable<void> apply_and_check(pve::Client& client, std::vector<pve::NodeName> nodes,
                                std::vector<NetworkSet> sets, pve::sdn::Lock& lock, Deadline limit);

}  // namespace px::network
