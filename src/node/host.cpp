#include "node/host.hpp"

#include "support/process.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/sysinfo.h>
#include <thread>
#include <unistd.h>

namespace px::node {

namespace {

using std::chrono::nanoseconds;

/// Of all threads of a process (Linux sched-stats.rst: the first numbers of schedstat).
std::map<int, ThreadTimes> times_of_threads(int pid) {
  std::map<int, ThreadTimes> out;
  std::error_code gone;
  for (std::filesystem::directory_iterator it{fmt::format("/proc/{}/task", pid), gone}, end;
       !gone && it != end; it.increment(gone)) {
    std::ifstream file{it->path() / "schedstat"};
    std::int64_t ran = 0;
    std::int64_t waited = 0;
    if (file >> ran >> waited) {
      const auto stat = read_stat(it->path());
      out[std::atoi(it->path().filename().c_str())] = {nanoseconds{ran}, nanoseconds{waited},
                                                       stat && stat->state == 'R'};
    }
  }
  return out;
}

}  // namespace

NodeMemory host_memory() {
  constexpr std::int64_t kibibyte = 1024;
  std::int64_t total = 0;
  std::int64_t available = 0;
  std::ifstream file{"/proc/meminfo"};
  std::string key;
  for (std::int64_t value = 0; file >> key >> value;) {
    if (key == "MemTotal:") total = value * kibibyte;
    if (key == "MemAvailable:") available = value * kibibyte;
    std::getline(file, key);  // the unit
  }
  return {total, total - available};
}

std::int64_t host_uptime() {
  struct sysinfo info{};
  return ::sysinfo(&info) == 0 ? info.uptime : 0;
}

int host_cores() {
  return static_cast<int>(std::thread::hardware_concurrency());
}

double host_load() {
  double load = 0;
  if (::getloadavg(&load, 1) != 1) return 0;
  return std::min(load / host_cores(), 1.0);
}

std::int64_t process_memory(int pid) {
  std::ifstream file{fmt::format("/proc/{}/statm", pid)};  // proc(5): size, resident, in pages
  std::int64_t size = 0;
  std::int64_t resident = 0;
  file >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

void CpuPressure::look(int pid) {
  const auto now = std::chrono::steady_clock::now();
  if (now - looked_ < std::chrono::seconds{1}) return;
  auto times = times_of_threads(pid);
  nanoseconds longest{0};
  for (const auto& [thread, time] : times) {
    const auto before = times_.find(thread);
    if (before == times_.end()) continue;
    longest = std::max(longest, time.waited - before->second.waited);
    // A wait is counted when it has ended, and among hundreds it takes a second.
    if (time.is_ready) longest = std::max(longest, now - looked_ - (time.ran - before->second.ran));
  }
  percent_ = std::clamp(100.0 * longest / (now - looked_), 0.0, 100.0);
  times_ = std::move(times);
  looked_ = now;
}

}  // namespace px::node
