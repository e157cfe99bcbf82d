#include "node/vm/running_disks.hpp"

#include "node/vm/command_line.hpp"
#include "node/vm/devices.hpp"

#include <algorithm>

namespace px::node {

namespace {

using namespace std::chrono_literals;
using Targets = std::map<std::string, std::filesystem::path>;

std::string job_of(const std::string& drive) {
  return "backup-" + drive;
}

/// The jobs of these drives, of those that QEMU still knows.
awaitable<std::vector<json::value>> jobs_of(Qmp& qmp, const Targets& targets) {
  std::vector<json::value> out;
  const json::value jobs = co_await qmp.call("query-jobs");
  for (const auto& job : jobs.as_array()) {
    const auto id = json::text_or(job, "id");
    if (std::any_of(targets.begin(), targets.end(),
                    [&id](const auto& target) { return job_of(target.first) == id; })) {
      out.push_back(job);
    }
  }
  co_return out;
}

awaitable<void> start(Qmp& qmp, const Targets& targets) {
  json::array actions;
  for (const auto& [drive, file] : targets) {
    co_await qmp.call("blockdev-add",
                      {{"driver", "raw"},
                       {"node-name", job_of(drive)},
                       {"discard", "unmap"},
                       {"file", json::object{{"driver", "file"}, {"filename", file.string()}}}});
    actions.push_back(json::object{{"type", "blockdev-backup"},
                                   {"data", json::object{{"job-id", job_of(drive)},
                                                         {"device", node_name_of(drive)},
                                                         {"target", job_of(drive)},
                                                         {"sync", "full"},
                                                         {"auto-dismiss", false}}}});
  }
  co_await qmp.call("transaction", {{"actions", std::move(actions)}}, 30s);
}

/// Until all jobs have ended, well or not. A copy takes what it takes: QEMU's own end is the limit.
awaitable<void> wait_for_ends(Qmp& qmp, const Targets& targets) {
  for (auto pause = 5ms;; pause = std::min<std::chrono::milliseconds>(pause * 2, 200ms)) {
    const auto jobs = co_await jobs_of(qmp, targets);
    if (std::all_of(jobs.begin(), jobs.end(), [](const json::value& job) {
          return json::text_or(job, "status") == "concluded";
        })) {
      co_return;
    }
    co_await sleep_for(pause);
  }
}

awaitable<void> copy(Qmp& qmp, const Targets& targets) {
  co_await start(qmp, targets);
  co_await wait_for_ends(qmp, targets);
  for (const auto& job : co_await jobs_of(qmp, targets)) {
    if (auto failure = json::text_or(job, "error"); !failure.empty()) {
      throw Error{Errc::rejected, std::move(failure)};
    }
  }
}

awaitable<void> clean_up(Qmp& qmp, const Targets& targets) {
  for (const auto& job : co_await jobs_of(qmp, targets)) {
    if (json::text_or(job, "status") == "concluded") continue;
    co_await qmp.call("job-cancel", {{"id", json::text_or(job, "id")}});
  }
  co_await wait_for_ends(qmp, targets);
  for (const auto& job : co_await jobs_of(qmp, targets)) {
    co_await qmp.call("job-dismiss", {{"id", json::text_or(job, "id")}});
  }
  for (const auto& [drive, file] : targets) {
    try {
      co_await qmp.call("blockdev-del", {{"node-name", job_of(drive)}});
    } catch (const Error& error) {
      // One that was not added, because an earlier one could not be.
      if (error.kind != Errc::rejected) throw;
    }
  }
}

}  // namespace

awaitable<void> copy_running_disks(Qmp& qmp, Targets targets) {
  co_await with_cleanup(copy(qmp, targets), clean_up(qmp, targets));
}

}  // namespace px::node
