#pragma once
#include "pve/qemu.hpp"

#include <string>

/// The drives of a VM's configuration.
namespace px::image {

/// The CD-ROM drive for media, to be set to `none,media=cdrom` before a clone starts: one that is
/// there already, else a SCSI one, which needs no AHCI in the guest; empty when none can be had.
std::string cd_drive_of(const pve::qemu::VmConfigMap& config);

/// Whether a drive holds Proxmox VE's own cloud-init image, `local:100/vm-100-cloudinit.raw`, or
/// asks for one, `local:cloudinit` (qemu-server, Drive.pm, drive_is_cloudinit).
bool is_cloud_init_drive(const std::string& option, const std::string& drive);

/// The CD-ROM drive for a seed of ours: that of Proxmox VE's own cloud-init image, whose place it
/// takes, for a guest reads one seed only; else a free one on the bus of the disk it boots from,
/// as far as that has CD-ROM drives. Empty when none can be had.
std::string seed_drive_of(const pve::qemu::VmConfigMap& config);

/// The drive that a VM boots from by `boot: order=`, else its first disk; empty for none.
std::string boot_disk(const pve::qemu::VmConfigMap& config);

/// Of a drive's text: STORAGE of STORAGE:...
std::string storage_of_drive(const std::string& drive);
/// Of a drive's text, by its `size=`; 0 when it has none.
double gib_of_drive(const std::string& drive);

}  // namespace px::image
