#pragma once
#include "node/vm/vm_config.hpp"

#include <string>
#include <vector>

/// The parts of a machine beside drives, NICs and the guest agent, as words of QEMU's command line.
/// A part that Proxmox VE adds without being asked (tablet, balloon) is there only when an option
/// asks for it: an idle device costs an emulated guest time.
namespace px::node {

/// Display, sound, watchdog, tablet, balloon, random numbers, and what the BIOS tells of the
/// machine.
std::vector<std::string> peripheral_arguments(const Options& options);

/// `-smp`, `-m`, and NUMA nodes. Throws Error{rejected} in PVE's words for nodes that do not fit.
std::vector<std::string> processor_arguments(const Options& options);

/// Throws Error{rejected} that names an option which needs hardware, or a program, that this node
/// can't give a VM.
void refuse_missing_hardware(const Options& options);

/// MiB; PVE's default is 512.
std::int64_t memory_mib(const Options& options);
int cpu_count(const Options& options);

}  // namespace px::node
