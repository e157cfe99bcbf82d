#pragma once
#include <cstdint>

/// What this machine is like: what a node of real VMs tells of itself.
namespace px::node {

/// Bytes.
struct NodeMemory {
  std::int64_t total = 0;
  std::int64_t used = 0;
};
/// Used is what is not available, as with Proxmox VE (pve-common ProcFSTools.pm, read_meminfo).
NodeMemory host_memory();

/// Seconds since the machine started.
std::int64_t host_uptime();

int host_cores();

/// How busy its cores were in the last minute: 0..1.
double host_load();

/// Bytes of a process that are in memory; 0 when it is gone.
std::int64_t process_memory(int pid);

}  // namespace px::node
