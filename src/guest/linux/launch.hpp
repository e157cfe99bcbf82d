#pragma once
#include "guest/channel.hpp"
#include "support/error.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

/// What goes into a launch of the run script and what comes out of it, and the decisions between:
/// when to launch again, when to ask again, when to give up. No I/O here.
namespace px::guest::linux_guest {

/// How a command ended; the letter is the script's.
enum class RunKind : char {
  exited = 'x',          ///< it ran; status is its own (128 + N for signal N)
  no_program = 'n',      ///< no such program: 127
  not_executable = 'p',  ///< a directory, or no right to execute: 126
  no_directory = 'd',    ///< the working directory can't be entered
  no_user = 'u',         ///< the guest has no such user
  file_error = 'e',      ///< detail: the shell's or utility's message
  too_large = 's',       ///< detail: the file's length
  packed = 'z',          ///< stdout is gzip
  bad_medium = 'b',      ///< the medium did not show up, or its bytes are wrong
  waiting = 'w',         ///< still running (answer to a repeated launch)
  lost = 'l',            ///< the guest restarted meanwhile
  gone = 'g',            ///< nothing of this ID ran
};

struct RunRequest {
  std::string id;
  std::string program;         ///< shell text of guest/linux/program.hpp; empty = staged
  std::string standard_input;  ///< `none`, `rest`, `dir:...`, `medium:...`
  std::string rest;            ///< the bytes for `rest`
  std::string user = "root";
  std::string home_user = "root";
  std::uint64_t keep = 0;  ///< bytes of each stream to keep
  /// Before the first poll; nothing = as quick commands of this guest took so far.
  std::optional<std::chrono::milliseconds> first_pause;
};

struct RunAnswer {
  RunKind kind = RunKind::exited;
  bool killed = false;
  int status = 0;
  std::string boot_id;
  std::string detail;
  std::string out;
  std::string err;
};

/// Most bytes of each stream in an answer. More than 64 KiB through the agent is slow (seconds for
/// a MiB) and can hang it (pve-practice section 2).
inline constexpr std::size_t answer_cap = 61440;

/// True if program and input fit into one launch.
bool fits_inline(const RunRequest& request);

/// `boot_id`: empty for a first launch. `forget`: records to remove.
Launch run_launch(const RunRequest& request, const std::string& boot_id,
                  const std::vector<std::string>& forget);
Launch kill_launch(const std::string& id);

/// Throws Error{protocol} on what no script of ours printed.
RunAnswer parse_answer(const LaunchEnd& end);

/// How long to wait before the first poll, learned from a guest's quick commands: a poll that comes
/// too early costs a request (0.1 s on a real server, pve-practice section 3), a late one its
/// delay.
class QuickPause {
 public:
  std::chrono::milliseconds value() const noexcept { return value_; }
  /// `polls` that a command took. One: a little sooner next time. Two: the first was too early, and
  /// a quarter later will do. More: no quick command.
  void learn(int polls);

 private:
  std::chrono::milliseconds value_{50};
};

/// A command from launch to answer: the decisions.
class RunMachine {
 public:
  using Clock = std::chrono::steady_clock;
  /// How long the guest may be out of reach (restarting, agent busy) before we give up.
  static constexpr std::chrono::seconds patience{60};

  enum class Action { launch, poll, done, fail };
  struct Step {
    Action action;
    Clock::duration pause{};  ///< wait so long before the action
  };

  explicit RunMachine(std::chrono::milliseconds first_pause) : pause_{first_pause} {}

  Step first() const { return {Action::launch}; }
  Step launched();
  /// The launch or poll failed. Launching again is harmless: the ID decides who runs. A server that
  /// stays silent for longer than `patience` makes the guest unavailable.
  Step failed(const Error& error, Clock::time_point now);
  Step polled(const std::optional<LaunchEnd>& end);

  bool relaunch() const noexcept { return launches_ > 0; }
  int polls() const noexcept { return polls_; }
  const RunAnswer& answer() const noexcept { return *answer_; }
  /// After Action::fail.
  const Error& error() const noexcept { return *error_; }

 private:
  Step give_up(Error error);

  Clock::duration pause_;
  Clock::duration trouble_pause_{};
  std::optional<Clock::time_point> trouble_since_;
  bool running_ = false;
  int launches_ = 0;
  int polls_ = 0;
  std::optional<RunAnswer> answer_;
  std::optional<Error> error_;
};

}  // namespace px::guest::linux_guest
