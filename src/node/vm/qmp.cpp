#include "node/vm/qmp.hpp"

#include <algorithm>

namespace px::node {

awaitable<json::value> Qmp::call(std::string_view command, json::object arguments,
                                 std::chrono::milliseconds limit) {
  co_return co_await with_deadline(exchange(std::string{command}, std::move(arguments)),
                                   Deadline::after(limit), fmt::format("qmp {}", command));
}

awaitable<json::value> Qmp::exchange(std::string command, json::object arguments) {
  const auto turn = co_await one_at_a_time_.acquire();
  if (!socket_.is_open()) {
    co_await socket_.connect();
    co_await socket_.read_line();  // the greeting
    co_await socket_.write("{\"execute\":\"qmp_capabilities\"}\n");
  }
  const auto id = ++last_id_;
  const json::object request{{"execute", command}, {"arguments", std::move(arguments)}, {"id", id}};
  co_await socket_.write(json::bj::serialize(request) + "\n");
  for (;;) {
    const json::value answer = json::parse(co_await socket_.read_line(), "an answer of QEMU");
    if (json::number_or(answer, "id", 0) != static_cast<std::int64_t>(id)) continue;
    if (const auto* error = json::find(answer, "error")) {
      throw Error{Errc::rejected, json::text_or(*error, "desc")}.while_doing("qmp " + command);
    }
    const auto* result = json::find(answer, "return");
    co_return result == nullptr ? json::value{} : *result;
  }
}

awaitable<void> Qmp::run_job(std::string_view command, json::object arguments,
                             std::chrono::milliseconds limit) {
  const std::string id = fmt::format("job-{}", last_id_ + 1);
  arguments["job-id"] = id;
  co_await call(command, std::move(arguments));
  co_await with_deadline(wait_for_job(id), Deadline::after(limit), std::string{command});
}

awaitable<void> Qmp::wait_for_job(std::string id) {
  for (auto pause = std::chrono::milliseconds{5};;) {
    const json::value jobs = co_await call("query-jobs");
    for (const auto& job : jobs.as_array()) {
      if (json::text_or(job, "id") != id || json::text_or(job, "status") != "concluded") continue;
      const std::string failure = json::text_or(job, "error");
      co_await call("job-dismiss", {{"id", id}});
      if (!failure.empty()) throw Error{Errc::rejected, failure};
      co_return;
    }
    co_await sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds{100});
  }
}

}  // namespace px::node
