#pragma once
#include "node/vm/vm_config.hpp"

#include <set>
#include <string>
#include <vector>

namespace px::node {

/// What a change of the configuration asks for, checked and complete.
struct ConfigChange {
  Options set;
  std::vector<std::string> remove;
  std::vector<std::string> revert;
};

/// One thing to do with the running machine; when it fails, its option stays pending.
struct HotplugStep {
  enum class Kind { change_medium, plug_drive, unplug_drive, plug_nic, unplug_nic, move_nic };
  Kind kind;
  std::string option;
};

/// What becomes of a change: the new configuration, where all that touches a running machine is
/// still pending, and the steps that can be taken at once. Pure.
///
/// The rules are Proxmox VE's (vmconfig_hotplug_pending in qemu-server; pve-facts 6 and 10a): names
/// and notes change at once; a CD drive that is there takes a medium at once, whatever `hotplug`
/// says; new SCSI drives and NICs are plugged when `hotplug` has them; a NIC that keeps its model
/// and MAC moves to another bridge at once (exchange 28); the rest waits. Not plugged here, though
/// PVE does: virtio-blk disks, and NICs of a q35 machine.
struct ConfigPlan {
  VmConfig config;
  std::vector<HotplugStep> steps;
};
ConfigPlan plan_change(const VmConfig& now, const ConfigChange& change, bool running);

/// A step was taken: its option is no longer pending.
void settle(VmConfig& config, const std::string& option);

}  // namespace px::node
