#include "pve/tasks.hpp"

#include "pve/classify.hpp"
#include "pve/once.hpp"
#include "pve/version.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

namespace px::pve {

namespace {

/// A status call that hangs is asked again rather than waited for.
constexpr std::chrono::seconds poll_limit{35};
/// How long a task may take to show in the list after its call's answer was lost.
constexpr std::array look_pauses{std::chrono::milliseconds{100}, std::chrono::milliseconds{300},
                                 std::chrono::milliseconds{600}, std::chrono::milliseconds{1000}};
/// After 595..599 the server's worker may still be about to begin.
constexpr std::chrono::milliseconds proxy_patience{3000};
/// The Date header has whole seconds, and so has a task's start.
constexpr std::int64_t clock_slack = 2;
constexpr int most_sends = 3;
constexpr std::chrono::milliseconds lock_pause{1000};

std::string path_of(const Upid& upid, std::string_view rest) {
  return fmt::format("/nodes/{}/tasks/{}{}", upid.node(), percent_encode(upid.text()), rest);
}

bool may_pass(const Error& error) {
  return error.kind == Errc::unreachable || error.kind == Errc::proxy ||
         error.kind == Errc::timeout || error.kind == Errc::server || error.kind == Errc::busy;
}

awaitable<Error> failure_of(Client& client, const Upid& upid, const TaskStatus& status,
                            std::string doing) {
  Error error{kind_of_text(status.exit_status, Errc::task_failed), status.exit_status};
  error.sent = Sent::answered;
  error.doing = std::move(doing);
  error.host = fmt::format("{}:{}", client.instance().host, client.instance().port);
  try {
    error.task_log = co_await task_log_end(client, upid);
  } catch (const Error& e) {
    error.task_log = {fmt::format("(the log can't be read: {})", e.said)};
  }
  co_return error;
}

/// Polls until the task has ended.
awaitable<TaskStatus> end_of(Client& client, const Upid& upid, Deadline deadline,
                             const std::string& doing, std::chrono::milliseconds expected) {
  const auto started = std::chrono::steady_clock::now();
  TaskWait machine{expected};
  TaskStatus status;
  auto step = machine.first();
  while (step.what == TaskWait::What::poll) {
    const auto now = std::chrono::steady_clock::now();
    if (deadline.passed(now)) {
      throw Error{Errc::timeout, fmt::format("{} is still running after {:.1f} s", upid,
                                             std::chrono::duration<double>(now - started).count())}
          .while_doing(doing)
          .with_sent(Sent::answered);
    }
    co_await sleep_for(
        std::min<std::chrono::steady_clock::duration>(step.pause, deadline.left(now)));
    std::optional<Error> lost;
    try {
      // The last look comes when the deadline has passed, so it has a limit of its own.
      status = co_await task_status(client, upid, {.deadline = Deadline::after(poll_limit)});
    } catch (const Error& e) {
      if (!may_pass(e)) throw;
      lost = e;
    }
    step = lost ? machine.poll_lost() : machine.answered(status);
    if (lost && step.what == TaskWait::What::lost) {
      lost->doing = doing;
      throw *std::move(lost);
    }
  }
  if (status.succeeded() && status.exit_status != "OK") {
    log::info("{}: {} ({})", doing, status.exit_status, upid);
  }
  co_return status;
}

awaitable<json::value> send(Client& client, const TaskCall& call, CallOptions options) {
  if (call.method == "DELETE") return client.del(call.path, call.params, std::move(options));
  if (call.method == "PUT") return client.put(call.path, call.params, std::move(options));
  return client.post(call.path, call.params, std::move(options));
}

/// Looks several times for the task that a lost answer should have named.
awaitable<std::optional<Upid>> look_for(Client& client, TaskPattern pattern,
                                        std::chrono::milliseconds patience) {
  for (const auto pause : look_pauses) {
    co_await sleep_for(pause);
    if (auto found = co_await find_task(client, pattern)) co_return found;
  }
  if (patience.count() > 0) {
    co_await sleep_for(patience);
    co_return co_await find_task(client, pattern);
  }
  co_return std::nullopt;
}

}  // namespace

bool TaskStatus::succeeded() const noexcept {
  return !running && (exit_status == "OK" || exit_status.starts_with("WARNINGS"));
}

TaskWait::TaskWait(std::chrono::milliseconds expected)
    : pause_{std::max(first_pause, expected * 9 / 10)} {}

TaskWait::Step TaskWait::again() noexcept {
  // A long first pause was for the expected duration; from there on it is short steps again.
  pause_ = pause_ > longest_pause ? first_pause * 4 : std::min(pause_ * 3 / 2, longest_pause);
  return {What::poll, pause_};
}

TaskWait::Step TaskWait::answered(const TaskStatus& status) noexcept {
  lost_ = 0;
  if (status.running) return again();
  return {status.succeeded() ? What::succeeded : What::failed};
}

TaskWait::Step TaskWait::poll_lost() noexcept {
  return ++lost_ > lost_polls_allowed ? Step{What::lost} : again();
}

awaitable<TaskStatus> task_status(Client& client, Upid upid, CallOptions options) {
  const auto data = co_await client.get(path_of(upid, "/status"), {}, std::move(options));
  TaskStatus status;
  status.running = json::text_at(data, "status") == "running";
  status.exit_status = json::text_or(data, "exitstatus");
  // A worker that was killed leaves no exit status behind.
  if (!status.running && status.exit_status.empty()) status.exit_status = "unexpected status";
  co_return status;
}

awaitable<std::vector<std::string>> task_log_end(Client& client, Upid upid, int count) {
  // limit=0 is the whole log; it is short for the tasks we start.
  const auto data =
      co_await client.get(path_of(upid, "/log"), Params{}.add("start", 0).add("limit", 0));
  std::vector<std::string> lines;
  if (!data.is_array()) co_return lines;
  const auto& all_lines = data.get_array();
  const auto wanted = std::min(all_lines.size(), static_cast<std::size_t>(count));
  for (auto i = all_lines.size() - wanted; i < all_lines.size(); ++i) {
    lines.push_back(json::text_or(all_lines[i], "t"));
  }
  co_return lines;
}

awaitable<void> wait_for_task(Client& client, Upid upid, Deadline deadline, std::string doing,
                              std::chrono::milliseconds expected) {
  const auto status = co_await end_of(client, upid, deadline, doing, expected);
  if (!status.succeeded()) throw co_await failure_of(client, upid, status, std::move(doing));
}

awaitable<bool> wait_unless_locked(Client& client, Upid upid, Deadline deadline, std::string doing,
                                   std::chrono::milliseconds expected) {
  const auto status = co_await end_of(client, upid, deadline, doing, expected);
  if (status.succeeded()) co_return true;
  const auto next = std::chrono::steady_clock::now() + lock_pause;
  if (kind_of_text(status.exit_status, Errc::task_failed) != Errc::busy || deadline.passed(next)) {
    throw co_await failure_of(client, upid, status, std::move(doing));
  }
  co_return false;
}

awaitable<void> stop_task(Client& client, Upid upid) {
  co_await client.del(path_of(upid, ""), {}, {.repeatable = true, .doing = "stop a task"});
}

awaitable<std::optional<Upid>> find_task(Client& client, TaskPattern pattern) {
  Params query;
  query.add("source", "all").add("typefilter", pattern.type).add("since", pattern.since);
  query.add("vmid", pattern.vmid);
  const auto data = co_await client.get(fmt::format("/nodes/{}/tasks", pattern.node),
                                        std::move(query), {.load = Load::light});
  std::optional<Upid> newest;
  if (!data.is_array()) co_return newest;
  for (const auto& entry : data.get_array()) {
    auto task = Upid::parse(json::text_at(entry, "upid"));
    const bool is_ours = pattern.user.empty() || task.user() == pattern.user ||
                         task.user().starts_with(pattern.user + "!");
    // Filters are repeated here: running tasks come unfiltered by time on some versions.
    if (!is_ours || task.type() != pattern.type || task.start_time() < pattern.since ||
        (pattern.vmid && task.id() != pattern.vmid->text()) || client.remembers(task) ||
        (pattern.after && task.started_before(*pattern.after))) {
      continue;
    }
    if (!newest || task.start_time() > newest->start_time()) newest = std::move(task);
  }
  co_return newest;
}

awaitable<bool> is_busy(Client& client, NodeName node, Vmid vmid) {
  const auto data = co_await client.get(fmt::format("/nodes/{}/tasks", node),
                                        Params{}.add("source", "active").add("vmid", vmid),
                                        {.load = Load::light});
  co_return data.is_array() && !data.get_array().empty();
}

awaitable<Upid> post_task_once(Client& client, TaskCall call) {
  // The VMID may have been someone else's a second ago, whose tasks then are in the list as well.
  const auto last = client.last_task(call.node);
  for (int sends = 1;; ++sends) {
    const auto sent_at = static_cast<std::int64_t>(std::time(nullptr));
    CallOptions options{.deadline = call.deadline, .wait_for_lock = true, .doing = call.doing};
    std::optional<Error> lost;
    try {
      const auto data = co_await send(client, call, std::move(options));
      if (!data.is_string()) {
        throw Error{Errc::protocol, "the answer names no task"}
            .while_doing(call.doing)
            .with_sent(Sent::answered);
      }
      auto upid = Upid::parse(std::string_view{data.get_string()});
      client.remember(upid);
      co_return upid;
    } catch (const Error& e) {
      if (!answer_was_lost(e)) throw;
      lost = e;
    }
    log::debug("{}: {}; looking for its task", call.doing, lost->said);
    if (!client.clock_offset()) co_await server_version(client);
    // Where a proxy drops the Date, both clocks are taken to agree.
    const auto ahead = client.clock_offset().value_or(std::chrono::seconds{0}).count();
    const auto since = sent_at + ahead - clock_slack;
    const auto patience = lost->kind == Errc::proxy ? proxy_patience : std::chrono::milliseconds{0};
    const TaskPattern pattern{call.node, call.type, call.vmid, since, full_user(client.instance()),
                              last};
    if (const auto found = co_await look_for(client, pattern, patience)) {
      client.remember(*found);
      co_return *found;
    }
    if (sends == most_sends) throw *std::move(lost);
  }
}

awaitable<void> run_task(Client& client, std::function<awaitable<Upid>()> start, Deadline deadline,
                         std::string doing, std::chrono::milliseconds expected) {
  while (!co_await wait_unless_locked(client, co_await start(), deadline, doing, expected)) {
    co_await sleep_for(lock_pause);
  }
}

}  // namespace px::pve
