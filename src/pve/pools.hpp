#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <string>
#include <vector>

/// /pools.
namespace px::pve::pools {

struct Pool {
  std::string id;
  std::string comment;
};
/// Those that the caller has Pool.Audit for (pve-manager API2/Pool.pm).
awaitable<std::vector<Pool>> list(Client& client);
/// already_exists when it is there.
awaitable<void> create(Client& client, std::string id, std::string comment, Deadline limit);
/// not_found when it is not there. Rewrites the cluster's user.cfg under its lock, some 10 ms.
awaitable<void> set_comment(Client& client, std::string id, std::string comment, Deadline limit);
/// Must be empty.
awaitable<void> remove(Client& client, std::string id, Deadline limit);
/// The VMs in a pool.
awaitable<std::vector<VmRef>> members(Client& client, std::string id);

}  // namespace px::pve::pools
