#include "node/host.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <sys/sysinfo.h>
#include <thread>
#include <unistd.h>

namespace px::node {

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

}  // namespace px::node
