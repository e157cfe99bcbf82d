#pragma once
#include "node/route.hpp"
#include "node/vm/vm_config.hpp"

#include <string>
#include <vector>

/// The configuration inside of an archive: a VM's options, and which device holds which drive
/// (qemu-server VZDump/QemuServer.pm and QemuServer.pm, parse_backup_hints).
namespace px::node {

/// `#qmdump#map:scsi0:drive-scsi0:local:qcow2:`
struct ArchivedDrive {
  std::string name;     ///< scsi0
  std::string device;   ///< drive-scsi0
  std::string storage;  ///< where it was; empty = unknown
  std::string format;   ///< raw, qcow2...; empty = unknown
};

/// As it is written into an archive: without locks, snapshots and what is unused or not backed up.
std::string print_archived_config(const Options& options, const std::vector<ArchivedDrive>& drives);
/// Whether a drive goes into an archive: a disk that its options do not leave out.
bool is_archived(const Drive& drive);

struct ArchivedConfig {
  Options options;  ///< checked as those of a request; drives still name their old volumes
  std::vector<ArchivedDrive> drives;
  bool is_template = false;
  /// Options that this node does not offer, which are left out.
  std::vector<std::string> left_out;
};
/// Takes what this node wrote and what Proxmox VE writes. Throws Error{rejected} or ApiError for
/// what neither would.
ArchivedConfig parse_archived_config(const std::string& text);

}  // namespace px::node
