#include "pve/client.hpp"

#include "pve/classify.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <deque>

namespace px::pve {

namespace {

constexpr std::size_t workers_for_us = 3;
constexpr std::size_t bulk_reads_at_once = 2;
constexpr std::size_t remembered_tasks = 512;
/// Larger answers are parsed in the pool, so that the I/O thread is never held up for long.
constexpr std::size_t parse_in_pool = 256u << 10;

/// "Tue, 24 Nov 2026 06:13:31 GMT" (RFC 9110 section 5.6.7), whatever the process's locale is.
std::optional<std::time_t> parse_date(std::string_view text) {
  constexpr std::array<std::string_view, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm when{};
  std::array<char, 4> month{};
  if (std::sscanf(std::string{text}.c_str(), "%*3s, %2d %3s %4d %2d:%2d:%2d", &when.tm_mday,
                  month.data(), &when.tm_year, &when.tm_hour, &when.tm_min, &when.tm_sec) != 6) {
    return std::nullopt;
  }
  const auto found = std::ranges::find(months, std::string_view{month.data()});
  if (found == months.end()) return std::nullopt;
  when.tm_mon = static_cast<int>(found - months.begin());
  when.tm_year -= 1900;
  return ::timegm(&when);
}

/// One call, as it is sent as often as needed.
struct Call {
  HttpRequest request;
  std::string path;  ///< without query
  CallOptions options;
  Sent sent = Sent::no;  ///< of the attempt under way
};

Call make_call(std::string method, std::string path, const Params& params, CallOptions options) {
  Call call;
  call.request.method = std::move(method);
  call.request.target = "/api2/json" + path;
  if (call.request.method == "GET" || call.request.method == "DELETE") {
    if (!params.empty()) call.request.target += "?" + params.form();
  } else if (params.has_bytes()) {
    call.request.headers.emplace_back("Content-Type", "application/json");
    call.request.body = params.json();
  } else if (!params.empty()) {
    call.request.headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
    call.request.body = params.form();
  }
  call.path = std::move(path);
  call.options = std::move(options);
  return call;
}

}  // namespace

std::optional<std::chrono::milliseconds> Repeats::after(const Error& error) noexcept {
  constexpr std::array pauses{std::chrono::milliseconds{200}, std::chrono::milliseconds{1000}};
  static_assert(pauses.size() == most);
  if (error.kind == Errc::busy && wait_for_lock_) {
    const auto pause = lock_pause_;
    lock_pause_ = std::min(lock_pause_ * 2, std::chrono::milliseconds{2000});
    return pause;
  }
  const bool died = error.kind == Errc::unreachable || error.kind == Errc::proxy;
  if (!died || error.sent != Sent::maybe || !harmless_ || repeats_ == most) return std::nullopt;
  return pauses[static_cast<std::size_t>(repeats_++)];
}

std::uint64_t Stats::total() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& [method, count] : requests) sum += count;
  return sum;
}

struct Client::State {
  State(asio::any_io_executor executor, asio::thread_pool& pool_, Instance instance_)
      : instance{std::move(instance_)},
        pool{pool_},
        connections{executor, instance},
        session{executor, connections, instance} {}

  awaitable<json::value> run(Call call);
  awaitable<void> repeat(Call& call, json::value& data);
  awaitable<json::value> attempt(Call& call);
  awaitable<HttpResponse> authenticated(Call& call);
  awaitable<std::unique_ptr<WebSocket>> open_socket(HttpRequest request);
  awaitable<json::value> data_of(HttpResponse response, const Call& call);
  void note_date(const HttpResponse& response);

  Instance instance;
  asio::thread_pool& pool;
  ConnectionPool connections;
  Session session;
  Semaphore workers{workers_for_us};
  Semaphore bulk_reads{bulk_reads_at_once};
  std::map<std::string, std::uint64_t> requests;
  std::uint64_t repeated = 0;
  std::chrono::steady_clock::time_point last_answer = std::chrono::steady_clock::now();
  std::optional<std::chrono::seconds> clock_offset;
  std::deque<Upid> tasks;
};

awaitable<json::value> Client::State::run(Call call) {
  json::value data;
  try {
    co_await with_deadline(repeat(call, data), call.options.deadline, call.options.doing);
  } catch (Error& e) {
    // The limit passed while we waited for a free worker, or between two attempts.
    if (e.kind == Errc::timeout) e.sent = call.sent;
    if (e.doing.empty()) e.doing = call.options.doing;
    if (e.method.empty()) e.method = call.request.method;
    if (e.path.empty()) e.path = call.path;
    if (e.host.empty()) e.host = fmt::format("{}:{}", instance.host, instance.port);
    throw;
  }
  co_return data;
}

awaitable<void> Client::State::repeat(Call& call, json::value& data) {
  Repeats repeats{call.request.method == "GET" || call.options.repeatable,
                  call.options.wait_for_lock};
  for (;;) {
    std::optional<std::chrono::milliseconds> pause;
    try {
      data = co_await attempt(call);
      co_return;
    } catch (const Error& e) {
      pause = repeats.after(e);
      if (!pause) throw;
      log::debug("{} {}: {}; again in {} ms", call.request.method, call.path, e.said,
                 pause->count());
    }
    co_await sleep_for(*pause);
    ++repeated;
  }
}

awaitable<json::value> Client::State::attempt(Call& call) {
  // Before a worker is taken: who waits for a login holds none, and all share its failure.
  co_await session.credentials(call.request.method);
  Semaphore::Permit bulk;
  Semaphore::Permit worker;
  if (call.options.load == Load::bulk_read) bulk = co_await bulk_reads.acquire();
  if (call.options.load != Load::light) worker = co_await workers.acquire();
  if (call.options.on_send) call.options.on_send();
  auto response = co_await authenticated(call);
  worker.release();
  bulk.release();
  std::optional<Error> refusal;
  if (response.status < 200 || response.status >= 300) {
    refusal =
        classify(response.status, response.reason, response.body, call.request.method, call.path);
  }
  const bool guest_was_silent = refusal && refusal->kind == Errc::agent_down;
  if (call.options.load != Load::light && !guest_was_silent) {
    last_answer = std::chrono::steady_clock::now();
  }
  if (refusal) throw *std::move(refusal);
  co_return co_await data_of(std::move(response), call);
}

awaitable<HttpResponse> Client::State::authenticated(Call& call) {
  const auto own_headers = call.request.headers.size();
  for (bool renewed = false;; renewed = true) {
    const auto credentials = co_await session.credentials(call.request.method);
    call.request.headers.resize(own_headers);
    call.request.headers.insert(call.request.headers.end(), credentials.headers.begin(),
                                credentials.headers.end());
    if (call.request.stream != nullptr) call.request.stream->rewind();
    ++requests[call.request.method];
    call.sent = Sent::maybe;
    const auto started = std::chrono::steady_clock::now();
    auto response = co_await connections.send(call.request);
    call.sent = Sent::answered;
    call.request.headers.resize(own_headers);
    note_date(response);
    log::debug("{} {}: {} in {} ms", call.request.method, call.path, response.status,
               std::chrono::duration_cast<std::chrono::milliseconds>(
                   std::chrono::steady_clock::now() - started)
                   .count());
    if (response.status != 401) co_return response;
    // A 401 is never acted upon, so any call may be sent once more with a new ticket.
    if (!session.refused(credentials) || renewed) throw session.refusal(response.reason);
    ++repeated;
  }
}

awaitable<std::unique_ptr<WebSocket>> Client::State::open_socket(HttpRequest request) {
  auto credentials = co_await session.credentials(request.method);
  request.headers = std::move(credentials.headers);
  ++requests[request.method];
  co_return co_await connections.open_socket(std::move(request));
}

awaitable<json::value> Client::State::data_of(HttpResponse response, const Call& call) {
  const auto parse = [&] {
    boost::system::error_code broken;
    auto answer = boost::json::parse(response.body, broken);
    if (broken || !answer.is_object()) {
      Error error{Errc::protocol, "the answer is no JSON object"};
      error.sent = Sent::answered;
      error.status = response.status;
      error.method = call.request.method;
      error.path = call.path;
      throw std::move(error);
    }
    auto* data = answer.get_object().if_contains("data");
    return data == nullptr ? json::value{nullptr} : std::move(*data);
  };
  if (response.body.size() < parse_in_pool) co_return parse();
  co_return co_await run_in_pool(pool, parse);
}

void Client::State::note_date(const HttpResponse& response) {
  if (const auto date = parse_date(response.header("Date"))) {
    clock_offset = std::chrono::seconds{*date - std::time(nullptr)};
  }
}

Client::Client(asio::any_io_executor executor, asio::thread_pool& pool, Instance instance) {
  check(instance);
  state_ = std::make_unique<State>(std::move(executor), pool, std::move(instance));
}

Client::~Client() = default;

awaitable<json::value> Client::get(std::string path, Params query, CallOptions options) {
  return state_->run(make_call("GET", std::move(path), query, std::move(options)));
}

awaitable<json::value> Client::post(std::string path, Params body, CallOptions options) {
  return state_->run(make_call("POST", std::move(path), body, std::move(options)));
}

awaitable<json::value> Client::put(std::string path, Params body, CallOptions options) {
  return state_->run(make_call("PUT", std::move(path), body, std::move(options)));
}

awaitable<json::value> Client::del(std::string path, Params query, CallOptions options) {
  return state_->run(make_call("DELETE", std::move(path), query, std::move(options)));
}

awaitable<json::value> Client::post_stream(std::string path, std::string content_type,
                                           BodySource& body, CallOptions options) {
  auto call = make_call("POST", std::move(path), {}, std::move(options));
  call.request.headers.emplace_back("Content-Type", std::move(content_type));
  call.request.stream = &body;
  call.request.fresh = true;
  return state_->run(std::move(call));
}

awaitable<std::unique_ptr<WebSocket>> Client::open_socket(std::string path, Params query,
                                                          CallOptions options) {
  auto call = make_call("GET", std::move(path), query, std::move(options));
  try {
    co_return co_await with_deadline(state_->open_socket(std::move(call.request)),
                                     call.options.deadline, call.options.doing);
  } catch (Error& error) {
    error.method = "GET";
    error.path = call.path;
    throw;
  }
}

awaitable<void> Client::close() {
  state_->connections.close_idle();
  co_return;
}

const Instance& Client::instance() const noexcept {
  return state_->instance;
}

asio::thread_pool& Client::pool() noexcept {
  return state_->pool;
}

std::chrono::steady_clock::time_point Client::last_answer() const noexcept {
  return state_->last_answer;
}

Stats Client::stats() const {
  Stats stats;
  stats.requests = state_->requests;
  stats.repeated = state_->repeated;
  stats.logins = state_->session.logins();
  if (stats.logins > 0) stats.requests["POST"] += stats.logins;
  stats.connections = state_->connections.opened();
  return stats;
}

std::optional<std::chrono::seconds> Client::clock_offset() const noexcept {
  return state_->clock_offset;
}

void Client::remember(const Upid& task) {
  state_->tasks.push_back(task);
  if (state_->tasks.size() > remembered_tasks) state_->tasks.pop_front();
}

bool Client::remembers(const Upid& task) const {
  return std::ranges::find(state_->tasks, task) != state_->tasks.end();
}

std::optional<Upid> Client::last_task(const NodeName& node) const {
  const auto found = std::find_if(state_->tasks.rbegin(), state_->tasks.rend(),
                                  [&](const Upid& task) { return task.node() == node; });
  return found == state_->tasks.rend() ? std::nullopt : std::optional{*found};
}

}  // namespace px::pve
