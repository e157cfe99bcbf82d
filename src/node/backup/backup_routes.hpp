#pragma once
#include "node/backup/vm_backup.hpp"

namespace px::node {

/// /nodes/{node}/vzdump. A backup is restored by POST /nodes/{node}/qemu.
/// Source: pve-manager API2/VZDump.pm and VZDump.pm; pve-facts section 10.
class BackupRoutes : public std::enable_shared_from_this<BackupRoutes> {
 public:
  explicit BackupRoutes(VmServices services) : services_{services} {}
  void add_routes(Router& router);

 private:
  awaitable<json::value> back_up(Call& call);
  awaitable<json::value> extract_config(Call& call);

  std::vector<int> chosen_vms(const Call& call) const;
  awaitable<void> run(std::vector<int> vmids, std::string storage, BackupOptions options,
                      TaskLog& log);
  awaitable<bool> back_up_one(int vmid, const BackupOptions& options, TaskLog& log);

  VmServices services_;
};

}  // namespace px::node
