#include "support/process.hpp"

#include "support/error.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

namespace px {

namespace {

std::filesystem::path directory_of(pid_t pid) {
  return fmt::format("/proc/{}", pid);
}

std::vector<char*> pointers(const std::vector<std::string>& argv) {
  std::vector<char*> out;
  for (const auto& word : argv) out.push_back(const_cast<char*>(word.c_str()));
  out.push_back(nullptr);
  return out;
}

/// Into the user namespace first: it gives the rights for the others.
bool enter(const Inside& inside) {
  const std::array<std::pair<int, int>, 3> namespaces{
      {{inside.user, CLONE_NEWUSER}, {inside.net, CLONE_NEWNET}, {inside.pid, CLONE_NEWPID}}};
  for (const auto& [descriptor, kind] : namespaces) {
    if (descriptor >= 0 && ::setns(descriptor, kind) != 0) return false;
  }
  return true;
}

/// Forks and executes. Only async-signal-safe calls between the two: other threads run.
pid_t launch(const std::vector<std::string>& argv, const char* directory, int input, int output,
             int errors, const Inside& inside, int passed) {
  auto words = pointers(argv);
  std::array<int, 2> report{};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) throw Error{Errc::internal, std::strerror(errno)};
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();
    const bool entered = enter(inside);
    const int refusal = errno;
    // Out of the way of the numbers that are given next.
    if (passed >= 0) passed = ::fcntl(passed, F_DUPFD, 10);
    ::dup2(input, 0);
    ::dup2(output, 1);
    ::dup2(errors, 2);
    // The report pipe closes itself when the program starts.
    ::dup2(report[1], 3);
    ::fcntl(3, F_SETFD, FD_CLOEXEC);
    if (passed >= 0) ::dup2(passed, passed_descriptor);
    ::close_range(passed >= 0 ? passed_descriptor + 1 : passed_descriptor, ~0U, 0);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    if (entered && ::chdir(directory) == 0) ::execvp(words[0], words.data());
    const int code = entered ? errno : refusal;
    [[maybe_unused]] const auto told = ::write(3, &code, sizeof code);
    ::_exit(127);
  }
  ::close(report[1]);
  int code = pid < 0 ? errno : 0;
  if (pid > 0 && ::read(report[0], &code, sizeof code) > 0) ::waitpid(pid, nullptr, 0);
  ::close(report[0]);
  if (code != 0) {
    throw Error{Errc::internal, fmt::format("{}: {}", argv.front(), std::strerror(code))};
  }
  return pid;
}

int exit_code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Process Process::spawn(const std::vector<std::string>& argv, const std::filesystem::path& directory,
                       const std::filesystem::path& log, Inside inside, int passed) {
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (out < 0) {
    const int code = errno;
    ::close(null);
    throw Error{Errc::internal, fmt::format("{}: {}", log.string(), std::strerror(code))};
  }
  try {
    const pid_t pid = launch(argv, directory.c_str(), null, out, out, inside, passed);
    ::close(null);
    ::close(out);
    const auto stat = read_stat(directory_of(pid));
    return Process{pid, stat ? stat->start_ticks : 0, true};
  } catch (...) {
    ::close(null);
    ::close(out);
    throw;
  }
}

std::optional<Process> Process::adopt(const std::filesystem::path& pid_file) {
  std::ifstream file{pid_file};
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;
  if (!(file >> pid >> start_ticks)) return std::nullopt;
  Process process{pid, start_ticks, false};
  if (!process.alive()) return std::nullopt;
  return process;
}

void Process::write_pid_file(const std::filesystem::path& pid_file) const {
  std::ofstream{pid_file} << pid_ << ' ' << start_ticks_ << '\n';
}

bool Process::alive() noexcept {
  if (ended_) return false;
  if (child_) {
    int status = 0;
    const pid_t got = ::waitpid(pid_, &status, WNOHANG);
    if (got == 0) return true;
    if (got == pid_) exit_code_ = exit_code_of(status);
    ended_ = true;
    return false;
  }
  const auto stat = read_stat(directory_of(pid_));
  ended_ = !stat || stat->start_ticks != start_ticks_ || stat->state == 'Z';
  return !ended_;
}

void Process::kill() noexcept {
  if (alive()) ::kill(pid_, SIGKILL);
}

void Process::end() noexcept {
  if (!alive()) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  ended_ = true;
}

std::chrono::seconds Process::age() const {
  std::ifstream file{"/proc/uptime"};
  double uptime = 0;
  file >> uptime;
  const double started =
      static_cast<double>(start_ticks_) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return std::chrono::seconds{std::max(0L, static_cast<long>(uptime - started))};
}

std::optional<ProcessStat> read_stat(const std::filesystem::path& directory) {
  std::ifstream file{directory / "stat"};
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  const auto name_end = text.rfind(')');  // the name may hold blanks and parentheses
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields{text.substr(name_end + 1)};
  ProcessStat stat;
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  fields >> stat.start_ticks;
  return fields ? std::optional{stat} : std::nullopt;
}

ToolResult run_tool(const std::vector<std::string>& argv, Inside inside) {
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  if (::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0) {
    throw Error{Errc::internal, std::strerror(errno)};
  }
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ToolResult result;
  try {
    const pid_t pid = launch(argv, "/", null, out[1], err[1], inside, -1);
    ::close(out[1]);
    ::close(err[1]);
    out[1] = err[1] = -1;
    std::array<pollfd, 2> ends{{{out[0], POLLIN, 0}, {err[0], POLLIN, 0}}};
    std::array<std::string*, 2> texts{&result.output, &result.errors};
    for (int open = 2; open > 0;) {
      if (::poll(ends.data(), ends.size(), -1) < 0 && errno != EINTR) break;
      for (std::size_t i = 0; i < ends.size(); ++i) {
        if (ends[i].fd < 0 || ends[i].revents == 0) continue;
        std::array<char, 4096> piece{};
        const auto got = ::read(ends[i].fd, piece.data(), piece.size());
        if (got > 0) {
          texts[i]->append(piece.data(), static_cast<std::size_t>(got));
        } else if (got == 0 || errno != EINTR) {
          ends[i].fd = -1;
          --open;
        }
      }
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    result.exit_code = exit_code_of(status);
  } catch (...) {
    for (const int end : {out[0], out[1], err[0], err[1], null}) {
      if (end >= 0) ::close(end);
    }
    throw;
  }
  for (const int end : {out[0], err[0], null}) ::close(end);
  return result;
}

}  // namespace px
