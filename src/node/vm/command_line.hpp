#pragma once
#include "node/vm/firmware.hpp"
#include "node/vm/machine.hpp"

#include <string>
#include <vector>

/// The QEMU command line of a configuration. Pure: no file is looked at.
///
/// It follows Proxmox VE's where the guest can see it (buses, addresses, names of devices) and is
/// leaner elsewhere: no option ROMs, no default devices. What a start writes
/// to a linked clone is not flushed (`cache=unsafe`): the VMs of a local node are throwaway.
namespace px::node {

/// How guests run: hardware virtualisation or emulation.
enum class Accelerator { kvm, tcg };
std::string_view name_of(Accelerator accelerator) noexcept;

/// What every VM of this node shares.
struct QemuHost {
  std::string binary = "qemu-system-x86_64";
  std::string version;  ///< of QEMU, e.g. 7.2.22
  Accelerator accelerator = Accelerator::tcg;
  int cpus = 1;  ///< of the host; a VM can't have more (as with PVE)
  std::string node_name = "pve";
  std::filesystem::path run_directory;  ///< sockets, pid files and logs of running VMs
  UefiFirmwares firmware;
};

/// Throws Error{rejected} in PVE's words for what can't start: too many CPUs, a machine type newer
/// than this QEMU, a device that is not supported here.
std::vector<std::string> qemu_command_line(const QemuHost& host, int vmid,
                                           const MachineSetup& setup);

bool agent_enabled(const Options& options);

}  // namespace px::node
