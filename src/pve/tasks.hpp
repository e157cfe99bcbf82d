#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

/// Tasks: /nodes/{node}/tasks. A task is done only when its own UPID says so.
namespace px::pve {

/// Answer of a task's status.
struct TaskStatus {
  bool running = true;
  std::string exit_status;  ///< when not running: `OK`, `WARNINGS: n`, or the error's text
  bool succeeded() const noexcept;
};

/// Decides when to ask for a task's status and what an answer means. No socket, no clock.
class TaskWait {
 public:
  static constexpr std::chrono::milliseconds first_pause{50};
  static constexpr std::chrono::milliseconds longest_pause{1000};
  static constexpr int lost_polls_allowed = 5;  ///< in a row

  /// `expected`: how long such a task mostly takes; the first poll comes shortly before. 0 = short.
  explicit TaskWait(std::chrono::milliseconds expected = {});

  enum class What : std::uint8_t {
    poll,  ///< after `pause`
    succeeded,
    failed,  ///< read the log's end, then report
    lost,    ///< too many polls without an answer: throw the last one's error
  };
  struct Step {
    What what;
    std::chrono::milliseconds pause{0};
  };
  Step first() const noexcept { return {What::poll, pause_}; }
  Step answered(const TaskStatus& status) noexcept;
  /// A poll failed in a way that may pass (no connection, 595..599, our timeout).
  Step poll_lost() noexcept;

 private:
  Step again() noexcept;
  std::chrono::milliseconds pause_;
  int lost_ = 0;
};

awaitable<TaskStatus> task_status(Client& client, Upid upid, CallOptions options = {});

/// The last `count` lines of a task's log.
awaitable<std::vector<std::string>> task_log_end(Client& client, Upid upid, int count = 10);

/// Waits for the end. Throws Error{task_failed} (or what the exit status means: already_exists,
/// busy, not_found...) with the log's last lines, Error{timeout} at the deadline (the task goes
/// on), Error{not_found} for a task the server doesn't know. `WARNINGS: n` is success.
awaitable<void> wait_for_task(Client& client, Upid upid, Deadline deadline, std::string doing,
                              std::chrono::milliseconds expected = {});

/// As wait_for_task(), but false when the task ended because it could not get a lock: nothing was
/// changed, so it may be started anew.
awaitable<bool> wait_unless_locked(Client& client, Upid upid, Deadline deadline, std::string doing,
                                   std::chrono::milliseconds expected = {});

/// Ends a running task (SIGTERM, then SIGKILL); one that has ended is left as it is.
awaitable<void> stop_task(Client& client, Upid upid);

/// What to look for in a node's task list.
struct TaskPattern {
  NodeName node;
  std::string type;  ///< `qmstart`...
  std::optional<Vmid> vmid;
  std::int64_t since = 0;  ///< seconds since 1970, the server's clock
  std::string user{};      ///< `root@pam`, also matching its tokens; empty = any
  /// None that started before this one of the same node.
  std::optional<Upid> after{};
};
/// The newest task, running or ended, that fits.
awaitable<std::optional<Upid>> find_task(Client& client, TaskPattern pattern);

/// Whether a task of that VM runs now, of all those that the caller may see.
awaitable<bool> is_busy(Client& client, NodeName node, Vmid vmid);

/// A call that starts a task and answers with its UPID.
struct TaskCall {
  std::string method = "POST";  ///< or DELETE, PUT
  std::string path;
  Params params;
  NodeName node;
  std::string type;  ///< of the task: `qmstart`
  Vmid vmid;         ///< of the task
  Deadline deadline;
  std::string doing;
};
/// Starts a task exactly once: when the answer is lost, the node's task list tells whether it
/// started; only when it surely did not is the call sent again. Locks (Errc::busy) are waited out
/// until the deadline.
awaitable<Upid> post_task_once(Client& client, TaskCall call);

/// Starts a task by `start` (qemu::start(), snapshot::create()...) and waits for its end. One that
/// could not get its lock is started anew until the deadline.
awaitable<void> run_task(Client& client, std::function<awaitable<Upid>()> start, Deadline deadline,
                         std::string doing, std::chrono::milliseconds expected = {});

}  // namespace px::pve
