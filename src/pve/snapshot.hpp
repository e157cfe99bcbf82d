#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <string>
#include <vector>

/// Snapshots of a VM: /nodes/{node}/qemu/{vmid}/snapshot. Names: 2..40 of [A-Za-z0-9_-], a letter
/// first, not `current` or `pending`.
namespace px::pve::snapshot {

struct Snapshot {
  std::string name;
  std::string description;
  std::string parent;
  std::int64_t time = 0;  ///< seconds since 1970
  bool with_memory = false;
};
/// Without the pseudo entry `current`.
awaitable<std::vector<Snapshot>> list(Client& client, VmRef vm);

/// A name that is taken is the task's error (already_exists).
awaitable<Upid> create(Client& client, VmRef vm, std::string name, bool with_memory,
                       std::string description, Deadline deadline);
/// With memory the VM runs afterwards, without it is stopped.
awaitable<Upid> rollback(Client& client, VmRef vm, std::string name, Deadline deadline);
awaitable<Upid> remove(Client& client, VmRef vm, std::string name, Deadline deadline);

/// Throws Error{bad_input} naming the rule.
void check_name(std::string_view name);

}  // namespace px::pve::snapshot
