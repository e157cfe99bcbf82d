#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <cstdint>
#include <string>
#include <vector>

/// /cluster: next id, resources.
namespace px::pve::cluster {

/// The lowest free id. Not a reservation: create, and on already_exists take another.
awaitable<Vmid> next_id(Client& client);
/// Whether nobody has this id now.
awaitable<bool> is_free(Client& client, Vmid vmid);

/// A node of the cluster, and what it has; 0: not told without Sys.Audit on it.
struct NodeResource {
  NodeName name;
  bool online = false;
  std::int64_t memory = 0;  ///< bytes
  int cores = 0;
};
/// A VM or container, and what it may use.
struct GuestResource {
  enum class State : std::uint8_t {
    running,
    stopped,
    unknown,  ///< new to the statistics, for up to 10 s: nothing more is told (pve-facts section 5)
  };
  NodeName node;
  std::uint32_t vmid = 0;
  State state = State::running;
  bool is_template = false;
  std::vector<std::string> tags{};
  std::int64_t memory = 0;  ///< bytes
  int cores = 0;
};
struct Resources {
  std::vector<NodeResource> nodes;
  std::vector<GuestResource> guests;
};
/// All of the cluster that the caller may see, in one request.
awaitable<Resources> resources(Client& client);

}  // namespace px::pve::cluster
