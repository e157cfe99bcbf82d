#pragma once
#include "node/vm/volumes.hpp"

namespace px::node {

/// /nodes/{node}/qemu/{vmid}/snapshot/*. Disks are saved inside their qcow2 files, and the memory,
/// when asked, inside the first disk's; the `vmstate` volume that the configuration names as PVE
/// does is therefore no file of its own. Source: pve-guest-common AbstractConfig.pm; exchange 11.
class SnapshotRoutes : public std::enable_shared_from_this<SnapshotRoutes> {
 public:
  explicit SnapshotRoutes(VmServices services) : services_{services}, volumes_{services_} {}
  void add_routes(Router& router);

 private:
  awaitable<json::value> list(Call& call);
  awaitable<json::value> index(Call& call);
  awaitable<json::value> create(Call& call);
  awaitable<json::value> remove(Call& call);
  awaitable<json::value> read_config(Call& call);
  awaitable<json::value> write_config(Call& call);
  awaitable<json::value> rollback(Call& call);

  awaitable<void> save(VmPtr vm, std::string name, std::string description, bool memory,
                       TaskLog& log);
  awaitable<void> restore(VmPtr vm, std::string name, bool start, TaskLog& log);
  awaitable<void> drop(VmPtr vm, std::string name, bool force);

  VmServices services_;
  Volumes volumes_;
};

}  // namespace px::node
