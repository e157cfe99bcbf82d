#pragma once
#include "guest/channel.hpp"
#include "guest/run_machine.hpp"
#include "support/async.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace px::guest {

/// A command from launch to answer, over a channel: run once, ended when its time is over or its
/// call cancelled. What exactly is launched is the kind of guest's to say.
class Runner {
 public:
  struct Job {
    std::string id;
    /// `boot_id`: empty for a first launch. `forget`: records that the guest can remove.
    std::function<Launch(const std::string& boot_id, const std::vector<std::string>& forget)>
        launch;
    Launch kill;  ///< ends it, and prints its answer
    /// Before the first poll; nothing = as quick commands of this guest took so far.
    std::optional<std::chrono::milliseconds> first_pause;
  };

  explicit Runner(std::shared_ptr<Channel> channel) : channel_{std::move(channel)} {}

  /// Errors: timeout (with Error::partial_output), and those that Guest names as common.
  awaitable<RunAnswer> run(Job job, std::optional<std::chrono::milliseconds> timeout);

  /// What may run twice: repeated until its end was told, within 30 s.
  awaitable<LaunchEnd> run_to_end(Launch launch);

  /// Channel::write_file(), repeated like run_to_end().
  awaitable<void> write_file(std::string path, std::string bytes);

  /// Reads a file of ours from `from` to its end, at most `limit` bytes.
  awaitable<std::string> rest_of(std::string file, std::uint64_t from, std::uint64_t limit);

  /// The record of `id` is not needed any more; the next launch removes it.
  void forget(std::string id) { forget_.push_back(std::move(id)); }

  /// Counts a call of the guest's while it lasts.
  class Call {
   public:
    explicit Call(Runner& runner) : runner_{runner} { ++runner_.calls_; }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    ~Call() { --runner_.calls_; }

   private:
    Runner& runner_;
  };

 private:
  awaitable<RunAnswer> run_in_time(const Job& job,
                                   std::optional<std::chrono::milliseconds> timeout);
  awaitable<void> kill_unless(const bool& is_over, const Job& job);
  awaitable<RunAnswer> follow(const Job& job, Deadline limit, std::chrono::milliseconds timeout);
  awaitable<RunAnswer> kill(const Job& job);

  std::shared_ptr<Channel> channel_;
  std::string boot_id_;
  std::vector<std::string> forget_;
  QuickPause quick_pause_;
  int calls_ = 0;
};

}  // namespace px::guest
