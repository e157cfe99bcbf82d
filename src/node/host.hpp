#pragma once
#include <chrono>
#include <cstdint>
#include <map>

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

/// Of a thread, since its start.
struct ThreadTimes {
  std::chrono::nanoseconds ran{0};
  std::chrono::nanoseconds waited{0};  ///< ready, without a processor
  bool is_ready = false;               ///< now, or it runs
};

/// How much a process lacks processors: of one process what Linux calls pressure (PSI, cpu "some").
class CpuPressure {
 public:
  /// Looks at the process. Of looks within a second the first counts.
  void look(int pid);
  /// Percent of the time between the last two looks in which a thread was ready to run and did not:
  /// that of the thread that waited longest. 0 before, and where the kernel keeps no such account.
  double percent() const noexcept { return percent_; }

 private:
  std::chrono::steady_clock::time_point looked_{};
  std::map<int, ThreadTimes> times_{};
  double percent_ = 0;
};

}  // namespace px::node
