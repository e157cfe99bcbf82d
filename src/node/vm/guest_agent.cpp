#include "node/vm/guest_agent.hpp"

namespace px::node {

namespace {

using namespace std::chrono_literals;

/// A sync that a booting guest's driver swallowed is never answered; so it is sent again.
constexpr auto sync_again = 1s;

/// An answer in `line`, which may be led by the 0xFF of a sync; null when it is none.
json::value parse_answer(const std::string& line) {
  const auto delimiter = line.rfind('\xFF');
  boost::system::error_code broken;
  auto answer =
      json::bj::parse(delimiter == std::string::npos ? line : line.substr(delimiter + 1), broken);
  return broken ? json::value{} : answer;
}

bool carries(const json::value& answer, std::string_view key, std::uint64_t least,
             std::uint64_t most) {
  const auto* number = json::find(answer, key);
  if (number == nullptr || !number->is_int64() || number->get_int64() < 0) return false;
  const auto id = static_cast<std::uint64_t>(number->get_int64());
  return id >= least && id <= most;
}

}  // namespace

awaitable<json::value> GuestAgent::call(std::string_view command, json::object arguments,
                                        std::chrono::milliseconds limit) {
  try {
    co_return co_await with_deadline(exchange(std::string{command}, std::move(arguments)),
                                     Deadline::after(limit), std::string{command});
  } catch (Error& error) {
    if (error.kind == Errc::timeout || error.kind == Errc::unreachable) {
      error.kind = Errc::agent_down;
    }
    throw;
  }
}

awaitable<json::value> GuestAgent::exchange(std::string command, json::object arguments) {
  const auto turn = co_await one_at_a_time_.acquire();
  if (!socket_.is_open()) {
    synchronised_ = false;
    co_await socket_.connect();
  }
  if (!synchronised_) co_await synchronise();
  synchronised_ = false;  // until the answer is here: a call that ends early leaves one behind
  const auto id = ++last_id_;
  json::object request{{"execute", command}, {"id", id}};
  if (!arguments.empty()) request["arguments"] = std::move(arguments);
  co_await socket_.write(json::bj::serialize(request) + "\n");
  json::value answer;
  do {
    answer = parse_answer(co_await socket_.read_line());
  } while (!carries(answer, "id", id, id));
  synchronised_ = true;
  if (const auto* error = json::find(answer, "error")) {
    throw Error{Errc::rejected, json::text_or(*error, "desc")}.while_doing(command);
  }
  const auto* result = json::find(answer, "return");
  co_return result == nullptr ? json::value{} : *result;
}

awaitable<void> GuestAgent::synchronise() {
  for (const auto oldest = last_id_ + 1;;) {
    const json::object request{{"execute", "guest-sync-delimited"},
                               {"arguments", json::object{{"id", ++last_id_}}}};
    co_await socket_.write("\xFF" + json::bj::serialize(request) + "\n");
    try {
      co_await with_deadline(read_sync_answer(oldest), Deadline::after(sync_again), "");
      synchronised_ = true;
      co_return;
    } catch (const Error& error) {
      if (error.kind != Errc::timeout) throw;
    }
  }
}

awaitable<void> GuestAgent::read_sync_answer(std::uint64_t oldest) {
  for (;;) {
    const std::string line = co_await socket_.read_line();
    const bool led = line.find('\xFF') != std::string::npos;
    if (led && carries(parse_answer(line), "return", oldest, last_id_)) co_return;
  }
}

}  // namespace px::node
