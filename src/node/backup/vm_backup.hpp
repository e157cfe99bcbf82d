#pragma once
#include "node/backup/archive_job.hpp"
#include "node/backup/archived_config.hpp"
#include "node/vm/routes.hpp"

namespace px::node {

/// How a running VM is backed up (docs of vzdump).
enum class BackupMode : std::uint8_t {
  snapshot,  ///< its disks as they are at one moment, while it runs on
  suspend,   ///< the same, paused for that moment
  stop,      ///< shut down, copied, and started again
};

struct BackupOptions {
  BackupMode mode = BackupMode::snapshot;
  Compression compression = Compression::none;
  std::filesystem::path folder;  ///< of the storage's archives
  std::filesystem::path spool;   ///< for what is not whole, on the same file system
  std::string notes;             ///< with {{vmid}}, {{guestname}}, {{node}}, {{cluster}}
  bool is_protected = false;
  std::chrono::minutes stop_wait{10};  ///< for the guest's own end in mode stop
};

/// Backs up one VM; the VM has `lock: backup` meanwhile. Throws Error and ApiError; nothing is left
/// of a backup that failed or was stopped, and a VM that was running runs.
awaitable<void> back_up_vm(const VmServices& services, VmPtr vm, BackupOptions options,
                           TaskLog& log);

}  // namespace px::node
