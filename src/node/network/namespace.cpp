#include "node/network/namespace.hpp"

#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <iterator>
#include <sched.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace px::node {

namespace {

[[noreturn]] void refuse(int code) {
  throw Error{Errc::unsupported,
              fmt::format("can't make a network namespace: {}", std::strerror(code))}
      .with_hint(
          "Networks of VMs need root, or user namespaces that are allowed "
          "(kernel.unprivileged_userns_clone, AppArmor).");
}

int open_namespace(pid_t process, const char* kind) {
  return ::open(fmt::format("/proc/{}/ns/{}", process, kind).c_str(), O_RDONLY | O_CLOEXEC);
}

void close_if_open(int& descriptor) noexcept {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

bool write_text(const char* path, const char* text) {
  const int file = ::open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const auto length = static_cast<ssize_t>(std::strlen(text));
  const bool good = ::write(file, text, static_cast<std::size_t>(length)) == length;
  ::close(file);
  return good;
}

/// What the launcher needs, made before the fork: afterwards only plain system calls are allowed.
struct Plan {
  Inside existing;
  bool with_user = false;
  std::string users;
  std::string groups;
  int lifeline = -1;
};

bool leave_old_namespaces(const Plan& plan) {
  if (plan.existing.net >= 0) {
    if (plan.existing.user >= 0 && ::setns(plan.existing.user, CLONE_NEWUSER) != 0) return false;
    return ::setns(plan.existing.net, CLONE_NEWNET) == 0 && ::unshare(CLONE_NEWPID) == 0;
  }
  if (!plan.with_user) return ::unshare(CLONE_NEWNET | CLONE_NEWPID) == 0;
  // The user is root inside. user_namespaces(7): without root outside, setgroups must be given up.
  return ::unshare(CLONE_NEWUSER) == 0 && write_text("/proc/self/setgroups", "deny") &&
         write_text("/proc/self/uid_map", plan.users.c_str()) &&
         write_text("/proc/self/gid_map", plan.groups.c_str()) &&
         ::unshare(CLONE_NEWNET | CLONE_NEWPID) == 0;
}

/// The first process of the process namespace: its orphans are its children, so that their ends
/// are nobody's business (SIGCHLD ignored), and end with it.
[[noreturn]] void hold_on(int lifeline) {
  ::signal(SIGCHLD, SIG_IGN);
  ::dup2(lifeline, 0);
  ::close_range(1, ~0U, 0);
  std::array<char, 1> byte{};
  while (::read(0, byte.data(), byte.size()) < 0 && errno == EINTR) {
  }
  ::_exit(0);
}

[[noreturn]] void launch_holder(const Plan& plan, int report) {
  ::setsid();
  std::array<int, 2> answer{0, 0};  // the holder's pid, and why there is none
  pid_t holder = -1;
  if (leave_old_namespaces(plan)) holder = ::fork();
  if (holder == 0) hold_on(plan.lifeline);
  answer = {holder, errno};
  [[maybe_unused]] const auto told = ::write(report, answer.data(), sizeof answer);
  ::close_range(0, ~0U, 0);
  if (holder > 0) ::waitpid(holder, nullptr, 0);
  ::_exit(0);
}

}  // namespace

Namespace Namespace::make() {
  return hold({});
}

Namespace Namespace::join(pid_t member) {
  Inside existing;
  existing.net = open_namespace(member, "net");
  std::error_code ignored;
  const auto theirs =
      std::filesystem::read_symlink(fmt::format("/proc/{}/ns/user", member), ignored);
  const auto ours = std::filesystem::read_symlink("/proc/self/ns/user", ignored);
  if (theirs != ours) existing.user = open_namespace(member, "user");
  try {
    if (existing.net < 0) refuse(errno);
    Namespace joined = hold(existing);
    close_if_open(existing.user);
    close_if_open(existing.net);
    return joined;
  } catch (...) {
    close_if_open(existing.user);
    close_if_open(existing.net);
    throw;
  }
}

bool Namespace::is_elsewhere(pid_t process) {
  std::error_code error;
  const auto theirs = std::filesystem::read_symlink(fmt::format("/proc/{}/ns/net", process), error);
  return !error && theirs != std::filesystem::read_symlink("/proc/self/ns/net", error);
}

Namespace Namespace::hold(const Inside& existing) {
  std::array<int, 2> lifeline{};
  std::array<int, 2> report{};
  if (::pipe2(lifeline.data(), O_CLOEXEC) != 0) refuse(errno);
  if (::pipe2(report.data(), O_CLOEXEC) != 0) {
    const int code = errno;
    ::close(lifeline[0]);
    ::close(lifeline[1]);
    refuse(code);
  }
  Plan plan{existing, ::geteuid() != 0, fmt::format("0 {} 1", ::geteuid()),
            fmt::format("0 {} 1", ::getegid()), lifeline[0]};
  Namespace made;
  made.launcher_ = ::fork();
  if (made.launcher_ == 0) launch_holder(plan, report[1]);
  ::close(lifeline[0]);
  ::close(report[1]);
  made.lifeline_ = lifeline[1];
  std::array<int, 2> answer{-1, errno};
  [[maybe_unused]] const auto got = ::read(report[0], answer.data(), sizeof answer);
  ::close(report[0]);
  if (answer[0] <= 0) refuse(answer[1]);
  made.holder_ = answer[0];
  made.net_ = open_namespace(made.holder_, "net");
  made.pid_ = open_namespace(made.holder_, "pid");
  if (plan.with_user || existing.user >= 0) made.user_ = open_namespace(made.holder_, "user");
  if (made.net_ < 0 || made.pid_ < 0) refuse(errno);
  return made;
}

Namespace::Namespace(Namespace&& other) noexcept
    : user_{std::exchange(other.user_, -1)},
      net_{std::exchange(other.net_, -1)},
      pid_{std::exchange(other.pid_, -1)},
      lifeline_{std::exchange(other.lifeline_, -1)},
      launcher_{std::exchange(other.launcher_, 0)},
      holder_{std::exchange(other.holder_, 0)} {}

Namespace::~Namespace() {
  close_if_open(lifeline_);
  // A moment, as a rule; not for ever where a member hangs in the kernel.
  for (int i = 0; i < 200 && launcher_ > 0; ++i) {
    if (::waitpid(launcher_, nullptr, WNOHANG) != 0) break;
    ::usleep(10'000);
  }
  close_if_open(user_);
  close_if_open(net_);
  close_if_open(pid_);
}

std::vector<std::string> Namespace::as_member(std::vector<std::string> argv) {
  // The exit keeps the shell from replacing itself by its last command: only a child is a member.
  std::vector<std::string> out{"sh", "-c", "\"$@\"; exit $?", "sh"};
  std::move(argv.begin(), argv.end(), std::back_inserter(out));
  return out;
}

void Namespace::kill(pid_t inner) const {
  const auto script = fmt::format(
      "kill {0} 2>/dev/null || exit 0; n=0; while kill -0 {0} 2>/dev/null && [ $n -lt 100 ]; do "
      "sleep 0.01; n=$((n+1)); done",
      inner);
  run_tool(as_member({"sh", "-c", script}), for_helpers());
}

}  // namespace px::node
