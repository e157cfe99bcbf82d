#include "node/host.hpp"

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

/// Of all threads of a process, how long each waited ready to run (Linux sched-stats.rst: the
/// second number of schedstat).
std::map<int, nanoseconds> waits_of_threads(int pid) {
  std::map<int, nanoseconds> out;
  std::error_code gone;
  for (std::filesystem::directory_iterator it{fmt::format("/proc/{}/task", pid), gone}, end;
       !gone && it != end; it.increment(gone)) {
    std::ifstream file{it->path() / "schedstat"};
    std::int64_t ran = 0;
    std::int64_t waited = 0;
    if (file >> ran >> waited) {
      out[std::atoi(it->path().filename().c_str())] = nanoseconds{waited};
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
  const bool is_first = waited_.empty();
  if (!is_first && now - looked_ < std::chrono::seconds{1}) return;
  auto waits = waits_of_threads(pid);
  nanoseconds longest{0};
  for (const auto& [thread, waited] : waits) {
    const auto before = waited_.find(thread);
    if (before != waited_.end()) longest = std::max(longest, waited - before->second);
  }
  percent_ = is_first ? 0 : std::min(100.0, 100.0 * longest / (now - looked_));
  waited_ = std::move(waits);
  looked_ = now;
}

}  // namespace px::node
