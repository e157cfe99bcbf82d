#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

/// Programs that we run: QEMU for as long as a VM lives, qemu-img for moments.
namespace px {

/// Namespaces in which a program is started, as open descriptors; -1 = our own. Of `pid`
/// only what the program starts is a member: a daemon, not its launcher (setns(2)).
struct Inside {
  int user = -1;
  int net = -1;
  int pid = -1;
};

/// Under which a started program finds the descriptor that it was passed.
inline constexpr int passed_descriptor = 4;

/// A process, told apart from a later one with the same pid by its start time.
class Process {
 public:
  /// Starts `argv` in its own session with the working directory `directory`; standard input is
  /// /dev/null, both outputs go to `log`. No other descriptor of ours reaches it.
  /// `passed`: one that does, as passed_descriptor; -1 = none.
  /// Throws Error{internal} when the program can't be started.
  static Process spawn(const std::vector<std::string>& argv, const std::filesystem::path& directory,
                       const std::filesystem::path& log, Inside inside = {}, int passed = -1);
  /// The process that write_pid_file() named, when it still lives.
  static std::optional<Process> adopt(const std::filesystem::path& pid_file);

  void write_pid_file(const std::filesystem::path& pid_file) const;

  pid_t pid() const noexcept { return pid_; }
  /// False as soon as it has ended (a child is reaped then).
  bool alive() noexcept;
  /// Exit code of a child that has ended; 128 + N after signal N.
  int exit_code() const noexcept { return exit_code_; }
  void kill() noexcept;
  /// Kills it and waits for its end, which is a moment away. Only of a child.
  void end() noexcept;
  /// Since its start.
  std::chrono::seconds age() const;

 private:
  Process(pid_t pid, std::uint64_t start_ticks, bool child)
      : pid_{pid}, start_ticks_{start_ticks}, child_{child} {}

  pid_t pid_;
  std::uint64_t start_ticks_;  ///< since boot, field 22 of /proc/PID/stat
  bool child_;
  bool ended_ = false;
  int exit_code_ = 0;
};

/// What the kernel tells of a process or thread (proc(5), stat).
struct ProcessStat {
  char state = 0;                 ///< R: runs or is ready to; S, D: waits; Z: has ended...
  std::uint64_t start_ticks = 0;  ///< since boot
};
/// `directory`: /proc/PID or /proc/PID/task/TID; nothing when it is gone.
std::optional<ProcessStat> read_stat(const std::filesystem::path& directory);

/// What a finished program said.
struct ToolResult {
  int exit_code = 0;
  std::string output;  ///< standard output
  std::string errors;  ///< standard error
};
/// Runs a program to its end, in a thread that may block. Throws Error{internal} when it can't be
/// started.
ToolResult run_tool(const std::vector<std::string>& argv, Inside inside = {});

}  // namespace px
