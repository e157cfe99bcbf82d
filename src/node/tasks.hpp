#pragma once
#include "node/route.hpp"
#include "node/state.hpp"
#include "support/async.hpp"

#include <boost/asio/cancellation_signal.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace px::node {

/// Where a task's work writes its log.
class TaskLog {
 public:
  void line(std::string text) { lines.push_back(std::move(text)); }
  /// The task ends as `WARNINGS: n`.
  void warn(std::string text) {
    ++warnings;
    lines.push_back("WARN: " + text);
  }
  std::vector<std::string> lines;
  int warnings = 0;
};

/// How quick a simulated host is with its tasks; by default as quick as this machine.
struct TaskPace {
  std::chrono::milliseconds time{0};  ///< that each takes besides its work
  std::size_t at_once = 1'000'000;    ///< of a node; the rest waits, in order
};

/// The node's tasks: UPIDs, logs, ends. Ended ones survive a restart; one that ran when the node
/// died shows `unexpected status` afterwards, as with Proxmox VE.
class Tasks {
 public:
  using Work = std::function<awaitable<void>(TaskLog&)>;

  Tasks(asio::any_io_executor executor, State& state, std::string node, TaskPace pace = {});
  ~Tasks();

  /// Starts `work` and returns the UPID. An exception's text becomes the exit status: that of an
  /// ApiError its message, of an Error its `said`.
  std::string start(std::string type, std::string id, std::string user, Work work);

  bool is_running(const std::string& upid) const;

  /// Those that run and the last 25 that ended, as /cluster/tasks shows them.
  std::vector<json::object> recent() const;

  /// Called at each task's end: UPID and exit status.
  std::function<void(const std::string&, const std::string&)> on_end;

  /// Asks all running tasks to stop and waits for their ends.
  awaitable<void> stop_all();

  void add_routes(Router& router);

 private:
  struct Task {
    std::string upid;
    std::string type;
    std::string id;
    std::string user;
    std::uint32_t pid = 0;
    std::int64_t started = 0;
    std::int64_t ended = 0;  ///< 0 while it runs
    std::string exit_status;
    TaskLog log;
    asio::cancellation_signal stop;
    bool stopped = false;
  };

  static json::object record_of(const Task& task);
  awaitable<void> run(std::shared_ptr<Task> task, Work work);
  void end(const std::shared_ptr<Task>& task, std::exception_ptr error);
  void remember(const Task& task);
  void forget_old();
  void load();
  /// nullptr when there is none; throws ApiError 400 for what is no UPID.
  std::shared_ptr<Task> find(const std::string& upid) const;
  std::shared_ptr<Task> at(const Call& call) const;
  json::object to_json(const Task& task) const;
  bool is_wanted(const Call& call, const Task& task) const;
  awaitable<json::value> list(Call& call);
  awaitable<json::value> status(Call& call);
  awaitable<json::value> log(Call& call);
  awaitable<json::value> stop(Call& call);

  asio::any_io_executor executor_;
  State& state_;
  std::string node_;
  std::chrono::milliseconds time_;
  Semaphore turns_;
  std::uint32_t next_pid_ = 1;
  std::deque<std::shared_ptr<Task>> tasks_;  ///< the newest first
  std::unordered_map<std::string, std::shared_ptr<Task>> by_upid_;
};

}  // namespace px::node
