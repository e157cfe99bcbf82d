#pragma once
#include "guest/channel.hpp"
#include "support/error.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

/// What our program in a guest says of a command, and the decisions between launch and answer: when
/// to launch again, when to ask again, when to give up. No I/O here.
namespace px::guest {

/// How a command ended; the letter is the guest side's (guest/linux/scripts.hpp,
/// guest/windows/helper/helper.c).
enum class RunKind : char {
  exited = 'x',          ///< it ran; status is its own (128 + N for signal N)
  no_program = 'n',      ///< no such program: 127
  not_executable = 'p',  ///< a directory, or no right to execute: 126
  no_directory = 'd',    ///< the working directory can't be entered
  no_user = 'u',         ///< the guest has no such user
  file_error = 'e',      ///< detail: the shell's or utility's message
  too_large = 's',       ///< detail: the file's length
  unfit = 'c',           ///< this program can't be given these arguments; detail: why
  packed = 'z',          ///< stdout is gzip
  bad_medium = 'b',      ///< the medium did not show up, or its bytes are wrong
  no_room = 'f',         ///< the guest's memory file system is full: what ran has no result
  waiting = 'w',         ///< still running (answer to a repeated launch)
  lost = 'l',            ///< the guest restarted meanwhile
  gone = 'g',            ///< nothing of this ID ran
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

/// Throws Error{protocol} on what nothing of ours printed.
RunAnswer parse_answer(const LaunchEnd& end);

/// What may pass by itself: the server or the agent is out of reach or busy for a while.
bool may_pass(const Error& error);

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

}  // namespace px::guest
