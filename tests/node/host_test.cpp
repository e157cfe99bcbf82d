// What a node tells of its machine and of the processes on it.
#include "node/host.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <sched.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace px::node {
namespace {

using namespace std::chrono_literals;

/// A process that computes, on the first processor we may use, until it is killed.
class Computing {
 public:
  Computing() : pid_{::fork()} {
    if (pid_ != 0) return;
    cpu_set_t ours;
    ::sched_getaffinity(0, sizeof ours, &ours);
    int first = 0;
    while (!CPU_ISSET(first, &ours)) ++first;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ::sched_setaffinity(0, sizeof one, &one);
    for (volatile bool forever = true; forever;) {
    }
    ::_exit(0);
  }
  ~Computing() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Computing(const Computing&) = delete;
  Computing& operator=(const Computing&) = delete;

  int pid() const { return pid_; }

 private:
  pid_t pid_;
};

double pressure_on(int pid) {
  CpuPressure pressure;
  pressure.look(pid);
  EXPECT_EQ(pressure.percent(), 0);
  std::this_thread::sleep_for(1500ms);
  pressure.look(pid);
  return pressure.percent();
}

TEST(CpuPressure, isHighWhereFourShareOneProcessor) {
  const Computing one;
  const Computing two;
  const Computing three;
  const Computing four;
  const double percent = pressure_on(one.pid());
  EXPECT_GT(percent, 50);
  EXPECT_LE(percent, 100);
}

TEST(CpuPressure, isNoneWhereNothingWantsToRun) {
  const pid_t waiting = ::fork();
  if (waiting == 0) {
    for (;;) ::pause();
  }
  EXPECT_LT(pressure_on(waiting), 5);
  ::kill(waiting, SIGKILL);
  ::waitpid(waiting, nullptr, 0);
}

TEST(CpuPressure, isNoneOfAProcessThatIsGone) {
  EXPECT_EQ(pressure_on(1 << 30), 0);
}

}  // namespace
}  // namespace px::node
