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
awaitable<std::vector<Pool>> list(Client& client);
/// already_exists when it is there.
awaitable<void> create(Client& client, std::string id, std::string comment);
/// Must be empty.
awaitable<void> remove(Client& client, std::string id);
/// The VMs in a pool.
awaitable<std::vector<VmRef>> members(Client& client, std::string id);

}  // namespace px::pve::pools
