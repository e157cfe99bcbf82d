#pragma once
#include "network/inventory.hpp"
#include "pve/client.hpp"
#include "sandbox/instances.hpp"
#include "sandbox/life_sign.hpp"
#include "support/async.hpp"

#include <string>
#include <string_view>
#include <vector>

/// What people ask about a server's networks: what is wrong with them, and which can go. Decisions
/// are pure; what is known of a run's life is handed in.
namespace px::sandbox {

/// --- what is wrong -----------------------------------------------------------------------------

struct NetworkProblem {
  std::string what;  ///< "zone abc123z"
  std::string said;  ///< what is wrong with it
  std::string fix;   ///< what to do
};
std::vector<NetworkProblem> problems_of(const network::Inventory& inventory, const LifeOf& life_of);

/// --- what can go -------------------------------------------------------------------------------

/// Which networks somebody wants removed: exactly one of the three.
struct NetworkSelection {
  std::string run{};
  bool dead = false;  ///< of runs that are known to be dead
  /// Zones, or VNets, which stand for their zones, or security groups whose VNet is gone.
  std::vector<std::string> names{};
};

struct Candidate {
  network::Remains networks;
  std::string why;
};
struct GroupCandidate {
  network::LostGroup group;
  std::string why;
};
struct Choice {
  std::vector<Candidate> remove{};
  std::vector<Candidate> keep{};         ///< selected, but must stay
  std::vector<GroupCandidate> groups{};  ///< security groups without a VNet, to be removed
  std::vector<std::string> unknown{};    ///< names that this server doesn't have
};
/// Never what isn't ours or what a VM uses; of a run that lives only when the selection names the
/// run itself.
Choice choose_networks(const network::Inventory& inventory, const NetworkSelection& selection,
                       const LifeOf& life_of);

/// Removes what was chosen, the networks with one apply; where that fails, each by itself, so that
/// one that can't go keeps no other. Returns what is left and why: "zone abc123z: ...".
awaitable<std::vector<std::string>> remove_chosen(pve::Client& client, const Choice& choice);

}  // namespace px::sandbox
