#pragma once
#include "node/backup/archive_job.hpp"
#include "node/backup/archived_config.hpp"
#include "node/vm/volumes.hpp"

namespace px::node {

struct RestoreRequest {
  std::filesystem::path archive;
  std::string storage;  ///< for all disks; empty = where each was
  bool unique = false;  ///< new MACs and a new SMBIOS UUID
  Options overrides;    ///< checked options that win over the archive's
};

/// Makes a VM of an archive, in two halves: what can be seen beforehand, and the work.
class VmRestore {
 public:
  VmRestore(const VmServices& services, RestoreRequest request)
      : services_{services}, volumes_{services}, request_{std::move(request)} {}

  /// Reads the archive's header and configuration. Nothing has changed when it throws.
  awaitable<void> look(TaskLog& log);
  /// Makes the disks and writes the configuration. The caller removes what a failure leaves.
  awaitable<void> make(VmPtr vm, TaskLog& log);

 private:
  struct Disk {
    ArchivedDrive drive;
    std::uint8_t device = 0;
    std::filesystem::path raw{};
  };

  void plan_disk(const ArchivedDrive& drive);
  awaitable<void> extract(TaskLog& log);
  Options options_with(const std::map<std::string, std::string>& volumes) const;
  void renew(Options& options) const;

  const VmServices& services_;
  Volumes volumes_;
  RestoreRequest request_;
  std::unique_ptr<ExtractJob> job_;
  ArchivedConfig config_;
  std::vector<Disk> disks_;
};

}  // namespace px::node
