#include "node/tasks.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>

namespace px::node {

namespace {

using namespace std::chrono_literals;

/// Ended tasks that are kept, as Proxmox VE's index keeps about so many.
constexpr std::size_t most_tasks = 2000;
constexpr std::string_view archive = "tasks.jsonl";

std::int64_t now() {
  return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
}

std::string first_line(std::string_view text) {
  return std::string{text.substr(0, text.find('\n'))};
}

std::string end_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const ApiError& e) {
    return first_line(e.message);
  } catch (const Error& e) {
    return first_line(e.said);
  } catch (const std::exception& e) {
    return first_line(e.what());
  }
}

/// A comma-separated list that holds `word`.
bool lists(const std::string& list, std::string_view word) {
  std::istringstream items{list};
  for (std::string item; std::getline(items, item, ',');) {
    if (item == word) return true;
  }
  return false;
}

/// ok, warning or error, as `statusfilter` names them (pve-common UPID status).
std::string_view kind_of(const std::string& exit_status) {
  if (exit_status == "OK") return "ok";
  if (exit_status.starts_with("WARNINGS: ")) return "warning";
  return exit_status == "unexpected status" ? "unknown" : "error";
}

}  // namespace

Tasks::Tasks(asio::any_io_executor executor, State& state, std::string node, TaskPace pace)
    : executor_{std::move(executor)},
      state_{state},
      node_{std::move(node)},
      time_{pace.time},
      turns_{pace.at_once} {
  load();
}

Tasks::~Tasks() = default;

std::string Tasks::start(std::string type, std::string id, std::string user, Work work) {
  auto task = std::make_shared<Task>();
  task->type = std::move(type);
  task->id = std::move(id);
  task->user = std::move(user);
  task->started = now();
  // The process number and its start only tell tasks apart; a counter does that best.
  task->pid = next_pid_++;
  task->upid = fmt::format("UPID:{0}:{1:08X}:{1:08X}:{2:08X}:{3}:{4}:{5}:", node_, task->pid,
                           task->started, task->type, task->id, task->user);
  tasks_.push_front(task);
  by_upid_.emplace(task->upid, task);
  remember(*task);
  asio::co_spawn(
      executor_, run(task, std::move(work)),
      asio::bind_cancellation_slot(task->stop.slot(),
                                   [this, task](std::exception_ptr error) { end(task, error); }));
  return task->upid;
}

awaitable<void> Tasks::run(std::shared_ptr<Task> task, Work work) {
  const auto turn = co_await turns_.acquire();
  if (time_ > 0ms) co_await sleep_for(time_);
  co_await work(task->log);
}

void Tasks::end(const std::shared_ptr<Task>& task, std::exception_ptr error) {
  if (error && task->stopped && is_cancellation(error)) {
    task->exit_status = "interrupted by signal";
  } else if (error) {
    task->exit_status = end_of(error);
  } else if (task->log.warnings > 0) {
    task->exit_status = fmt::format("WARNINGS: {}", task->log.warnings);
  } else {
    task->exit_status = "OK";
  }
  const bool bad = error != nullptr;
  task->log.line(bad ? "TASK ERROR: " + task->exit_status : "TASK " + task->exit_status);
  task->ended = now();
  remember(*task);
  if (on_end) on_end(task->upid, task->exit_status);
  forget_old();
}

void Tasks::forget_old() {
  while (tasks_.size() > most_tasks && tasks_.back()->ended > 0) {
    by_upid_.erase(tasks_.back()->upid);
    tasks_.pop_back();
  }
}

json::object Tasks::record_of(const Task& task) {
  json::array lines;
  for (const auto& line : task.log.lines) lines.emplace_back(line);
  return {{"upid", task.upid},      {"type", task.type},
          {"id", task.id},          {"user", task.user},
          {"pid", task.pid},        {"started", task.started},
          {"ended", task.ended},    {"status", task.exit_status},
          {"log", std::move(lines)}};
}

/// Appends a line: at a task's start and at its end. The later one counts.
void Tasks::remember(const Task& task) {
  std::ofstream file{state_.path(archive), std::ios::app};
  file << boost::json::serialize(record_of(task)) << '\n';
}

void Tasks::load() {
  const auto text = state_.read(archive);
  if (!text) return;
  std::istringstream lines{*text};
  for (std::string line; std::getline(lines, line);) {
    try {
      const auto record = json::parse(line, archive);
      auto& task = by_upid_[json::text_at(record, "upid")];
      if (!task) {
        task = std::make_shared<Task>();
        tasks_.push_front(task);
      }
      task->upid = json::text_at(record, "upid");
      task->type = json::text_at(record, "type");
      task->id = json::text_at(record, "id");
      task->user = json::text_at(record, "user");
      task->pid = static_cast<std::uint32_t>(json::number_at(record, "pid"));
      task->started = json::number_at(record, "started");
      task->ended = json::number_at(record, "ended");
      task->exit_status = json::text_at(record, "status");
      task->log.lines.clear();
      for (const auto& item : record.at("log").as_array()) {
        task->log.line(std::string{item.as_string()});
      }
      next_pid_ = std::max(next_pid_, task->pid + 1);
    } catch (const Error&) {
      // A line that was being written when the node died.
    }
  }
  for (const auto& task : tasks_) {
    if (task->ended > 0) continue;
    task->ended = now();
    task->exit_status = "unexpected status";
  }
  forget_old();
  std::string kept;
  for (auto it = tasks_.rbegin(); it != tasks_.rend(); ++it) {
    kept += boost::json::serialize(record_of(**it)) + "\n";
  }
  state_.write(archive, kept);
}

awaitable<void> Tasks::stop_all() {
  for (const auto& task : tasks_) {
    if (task->ended == 0) {
      task->stopped = true;
      task->stop.emit(asio::cancellation_type::terminal);
    }
  }
  const auto running = [&] {
    return std::any_of(tasks_.begin(), tasks_.end(), [](const auto& t) { return t->ended == 0; });
  };
  const auto limit = Deadline::after(30s);
  while (running() && !limit.passed(std::chrono::steady_clock::now())) co_await sleep_for(20ms);
}

std::shared_ptr<Tasks::Task> Tasks::find(const std::string& upid) const {
  if (!upid.starts_with("UPID:") || std::count(upid.begin(), upid.end(), ':') != 8) {
    throw ApiError::parameter("upid", "unable to parse worker upid");
  }
  const auto it = by_upid_.find(upid);
  return it == by_upid_.end() ? nullptr : it->second;
}

bool Tasks::is_running(const std::string& upid) const {
  const auto task = find(upid);
  return task && task->ended == 0;
}

std::shared_ptr<Tasks::Task> Tasks::at(const Call& call) const {
  auto task = find(call.text("upid"));
  if (!task) throw ApiError::parameter("upid", "no such task");
  return task;
}

json::object Tasks::to_json(const Task& task) const {
  json::object out{
      {"upid", task.upid}, {"node", node_},      {"type", task.type}, {"id", task.id},
      {"pid", task.pid},   {"pstart", task.pid}, {"user", task.user}, {"starttime", task.started}};
  if (const auto bang = task.user.find('!'); bang != std::string::npos) {
    out["user"] = task.user.substr(0, bang);
    out["tokenid"] = task.user.substr(bang + 1);
  }
  if (task.ended > 0) {
    out["endtime"] = task.ended;
    out["status"] = task.exit_status;
  }
  return out;
}

/// The filters of the task list.
bool Tasks::is_wanted(const Call& call, const Task& task) const {
  const auto source = call.text_or("source", "archive");
  const bool running = task.ended == 0;
  if ((source == "archive" && running) || (source == "active" && !running)) return false;
  if (call.has("vmid") && task.id != call.text("vmid")) return false;
  if (call.has("typefilter") && task.type != call.text("typefilter")) return false;
  if (call.has("since") && task.started < call.number("since")) return false;
  if (call.has("until") && task.started > call.number("until")) return false;
  if (call.has("userfilter") && task.user.find(call.text("userfilter")) == std::string::npos) {
    return false;
  }
  if (call.flag("errors") && (running || task.exit_status == "OK")) return false;
  return !call.has("statusfilter") || running ||
         lists(call.text("statusfilter"), kind_of(task.exit_status));
}

awaitable<json::value> Tasks::list(Call& call) {
  json::array out;
  std::int64_t skip = call.number_or("start", 0);
  const auto limit = static_cast<std::size_t>(call.number_or("limit", 50));
  std::int64_t total = 0;
  for (const auto& task : tasks_) {
    if (!is_wanted(call, *task)) continue;
    ++total;
    if (skip-- > 0 || out.size() >= limit) continue;
    out.push_back(to_json(*task));
  }
  call.total = total;
  co_return out;
}

std::vector<json::object> Tasks::recent() const {
  std::vector<json::object> out;
  int ended = 0;
  for (const auto& task : tasks_) {
    if (task->ended > 0 && ++ended > 25) continue;
    auto item = to_json(*task);
    item["saved"] = task->ended > 0 ? "1" : "0";
    out.push_back(std::move(item));
  }
  return out;
}

awaitable<json::value> Tasks::status(Call& call) {
  const auto task = at(call);
  auto out = to_json(*task);
  out.erase("endtime");
  out["status"] = task->ended == 0 ? "running" : "stopped";
  if (task->ended > 0) out["exitstatus"] = task->exit_status;
  co_return out;
}

awaitable<json::value> Tasks::log(Call& call) {
  if (call.flag("download")) {
    throw ApiError{501, "the local node does not implement download=1 of a task's log"};
  }
  const auto task = find(call.text("upid"));
  json::array out;
  if (!task) {
    out.push_back(json::object{{"n", 1}, {"t", "unable to open file - No such file or directory"}});
    call.total = 1;
    co_return out;
  }
  const auto& lines = task->log.lines;
  const auto from = static_cast<std::size_t>(call.number_or("start", 0));
  const auto limit = static_cast<std::size_t>(call.number_or("limit", 50));
  for (std::size_t i = from; i < lines.size() && (limit == 0 || out.size() < limit); ++i) {
    out.push_back(json::object{{"n", i + 1}, {"t", lines[i]}});
  }
  call.total = static_cast<std::int64_t>(lines.size());
  co_return out;
}

awaitable<json::value> Tasks::stop(Call& call) {
  const auto task = at(call);
  if (task->ended == 0) {
    task->stopped = true;
    task->stop.emit(asio::cancellation_type::terminal);
  }
  co_return nullptr;
}

void Tasks::add_routes(Router& router) {
  const std::string base = "/nodes/{node}/tasks";
  const auto bind = [this](awaitable<json::value> (Tasks::*handler)(Call&)) -> Handler {
    return [this, handler](Call& call) { return (this->*handler)(call); };
  };
  router.add({.method = "GET",
              .path = base,
              .params = {{.name = "start", .type = ParamType::integer, .minimum = 0},
                         {.name = "limit", .type = ParamType::integer, .minimum = 0},
                         {.name = "vmid",
                          .type = ParamType::integer,
                          .minimum = 100,
                          .maximum = 999'999'999,
                          .format = "pve-vmid"},
                         {.name = "typefilter"},
                         {.name = "statusfilter"},
                         {.name = "userfilter"},
                         {.name = "errors", .type = ParamType::boolean},
                         {.name = "since", .type = ParamType::integer},
                         {.name = "until", .type = ParamType::integer},
                         {.name = "source", .one_of = {"archive", "active", "all"}}},
              .handler = bind(&Tasks::list)});
  router.add({.method = "GET",
              .path = base + "/{upid}/status",
              .params = {},
              .handler = bind(&Tasks::status),
              .is_protected = true});
  router.add({.method = "GET",
              .path = base + "/{upid}/log",
              .params = {{.name = "start", .type = ParamType::integer, .minimum = 0},
                         {.name = "limit", .type = ParamType::integer, .minimum = 0},
                         {.name = "download", .type = ParamType::boolean}},
              .handler = bind(&Tasks::log),
              .is_protected = true});
  router.add({.method = "DELETE",
              .path = base + "/{upid}",
              .params = {},
              .handler = bind(&Tasks::stop),
              .is_protected = true});
}

}  // namespace px::node
