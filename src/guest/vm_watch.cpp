#include "guest/vm_watch.hpp"

#include "guest/console_text.hpp"
#include "pve/console.hpp"
#include "pve/nodes.hpp"
#include "support/log.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace px::guest {

namespace {

using namespace std::chrono_literals;

/// So long a server waits for a ping's answer, and then for a command's (pve-facts section 9).
constexpr auto ping_limit = 3s;
constexpr auto command_limit = 5s;
/// What has no answer by then hangs.
constexpr auto hangs_after = 4s;
/// So does what waits for a worker when no guest has answered for so long: sooner than a ping ends,
/// for a look that is sent then is the first that gets the ping's worker, before the next pings.
constexpr auto all_hang_after = 2s;
constexpr auto tick = 250ms;
constexpr auto first_pause = 2s;
constexpr auto longest_pause = 8s;
constexpr auto overdue_pause = 1s;
/// Of a look, which waits for one of the server's workers: each may be waiting for a ping.
constexpr auto look_limit = ping_limit + 500ms;
/// Of what needs no worker: a server that is silent for so long has none to wait for.
constexpr auto list_limit = 1500ms;
/// Of a chatty console; the last lines are all that is told.
constexpr std::size_t most_printed = 16u << 10;

SteadyTime now() {
  return std::chrono::steady_clock::now();
}

/// The guest's agent itself said it.
bool is_from_guest(const Error& error) {
  return error.said.find("Agent error:") != std::string::npos;
}

bool may_mean_death(const Error& error) {
  switch (error.kind) {
    case Errc::unavailable:
    case Errc::not_found:
    case Errc::agent_down:
    case Errc::unreachable:
    case Errc::timeout:
    case Errc::proxy:
    case Errc::server:
    case Errc::protocol:
      return true;
    default:
      return false;
  }
}

/// Not behind our own calls, which wait for what this is to explain.
pve::CallOptions promptly(std::chrono::milliseconds limit) {
  return {.deadline = Deadline::after(limit), .load = pve::Load::light};
}

/// Tells a silence of a request as long as it is under way.
class Asked {
 public:
  explicit Asked(Silence& silence) : silence_{silence} { silence_.asked(now()); }
  ~Asked() { silence_.ended(); }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

 private:
  Silence& silence_;
};

/// What a server was asked at once, as far as it answered.
struct Answers {
  std::optional<pve::qemu::VmStatus> vm;
  std::optional<Error> vm_failure;
  std::optional<std::vector<pve::nodes::NodeSummary>> nodes;
  std::optional<Error> nodes_failure;

  bool server_is_silent() const {
    return nodes_failure &&
           (nodes_failure->kind == Errc::unreachable || nodes_failure->kind == Errc::timeout);
  }
};

awaitable<void> ask_for_vm(pve::Client& client, pve::VmRef vm, Answers& out) {
  try {
    out.vm = co_await pve::qemu::status(client, vm, promptly(look_limit));
  } catch (const Error& error) {
    out.vm_failure = error;
  }
}

awaitable<void> ask_for_nodes(pve::Client& client, Answers& out) {
  try {
    out.nodes = co_await pve::nodes::list(client, promptly(list_limit));
  } catch (const Error& error) {
    out.nodes_failure = error;
  }
}

/// Nobody waits on for a VM of a server that is silent.
awaitable<void> ask_for_nodes_and_end_if_silent(pve::Client& client, Answers& out) {
  co_await ask_for_nodes(client, out);
  if (out.server_is_silent()) throw *out.nodes_failure;
}

Sight sight_of(const Answers& answers, const pve::NodeName& node) {
  using Reach = Sight::Reach;
  if (answers.vm) return {.status = *answers.vm};
  const auto& failure = answers.vm_failure;  // none when it was not waited for
  if (failure && failure->kind == Errc::not_found) return {.there = false};
  if (answers.nodes_failure) {
    return {.reach = answers.server_is_silent() ? Reach::server_silent : Reach::busy,
            .said = answers.nodes_failure->said};
  }
  const bool offline = std::ranges::any_of(
      *answers.nodes, [&](const auto& entry) { return entry.name == node && entry.offline; });
  if (offline) return {.reach = Reach::node_offline};
  // The server's proxy to the node: it got no connection (pve-facts section 2).
  constexpr int no_connection = 595;
  return {.reach = failure->status == no_connection ? Reach::node_silent : Reach::busy,
          .said = failure->said};
}

}  // namespace

VmWatch::VmWatch(pve::Client& client, pve::VmRef vm, VmWords words,
                 std::chrono::steady_clock::duration patience)
    : client_{client}, vm_{std::move(vm)}, words_{std::move(words)}, patience_{patience} {}

awaitable<void> VmWatch::watch(std::function<awaitable<void>(pve::CallOptions)> request) {
  const Asked asked{silence_};
  const auto state = std::make_shared<Request>(Request{.made = now()});
  pve::CallOptions options;
  options.on_send = [state] {
    if (!state->sent) state->sent = now();
  };
  std::optional<Error> failure;
  try {
    co_await with_company(request(std::move(options)), look_while_it_hangs(state));
    silence_.heard();
    co_return;
  } catch (const Error& error) {
    failure = error;
  }
  if (state->ended_by_us) throw *failure;
  if (is_from_guest(*failure)) silence_.heard();
  if (is_from_guest(*failure) || !may_mean_death(*failure)) throw *failure;
  const auto ended = now();
  auto began = state->sent.value_or(ended);
  if (failure->kind == Errc::agent_down) {
    // Before that it waited for a free worker.
    const auto waited = failure->sent == Sent::maybe ? command_limit : ping_limit;
    began = std::max<SteadyTime>(began, ended - waited);
    silence_.missed(began, ended);
  }
  if (auto death = co_await look(began, ended)) throw *death;
  if (failure->kind == Errc::timeout) failure->kind = Errc::unreachable;
  throw *failure;
}

awaitable<void> VmWatch::look_while_it_hangs(std::shared_ptr<Request> request) {
  co_await keep_looking(request, true);
  std::vector<awaitable<void>> both;
  both.push_back(listen(Deadline{*console_.silence}));
  both.push_back(keep_looking(request, false));
  co_await all(std::move(both));
}

/// Of all requests that hang, the first to see that it is time has the listener beside it.
awaitable<void> VmWatch::keep_looking(std::shared_ptr<Request> request, bool until_listening) {
  SteadyTime::duration pause = first_pause;
  SteadyTime last{};
  for (;;) {
    co_await sleep_for(tick);
    if (until_listening && takes_up_listening()) co_return;
    const auto end = silence_.end_of(patience_);
    const bool overdue = end && now() >= *end;
    const auto next =
        last + (overdue ? std::min<SteadyTime::duration>(pause, overdue_pause) : pause);
    if (!(hangs(*request) || overdue) || now() < next) continue;
    last = now();
    if (auto death = co_await look(request->sent.value_or(last), last - overdue_pause)) {
      request->ended_by_us = true;
      throw *death;
    }
    pause = silence_.silent_looks() > 0 ? tick
                                        : std::min<SteadyTime::duration>(pause * 2, longest_pause);
  }
}

/// Also what still waits for a free worker, when guests that hang have them all: what befell those
/// may have befallen this one, as when the storage of all is full.
bool VmWatch::hangs(const Request& request) const {
  if (request.sent) return now() - *request.sent >= hangs_after;
  return now() - std::max(request.made, client_.last_answer()) >= all_hang_after;
}

bool VmWatch::takes_up_listening() {
  const auto silence = silence_.end_of(patience_);
  if (console_.silence != silence) console_ = {.silence = silence};
  if (console_.had_listener) return false;
  return console_.had_listener = is_time_to_listen(sight_, silence_, patience_, now());
}

/// What goes wrong here is no news: what the VM died of is told without its console.
awaitable<void> VmWatch::listen(Deadline limit) {
  const auto print = [this](std::string_view bytes) {
    auto& printed = console_.printed;
    printed += bytes;
    if (printed.size() > most_printed) printed.erase(0, printed.size() - most_printed);
  };
  try {
    co_await pve::console::listen(client_, vm_, print, limit);
  } catch (const Error& error) {
    log::debug("no console of {}: {}", words_.text, error.what());
  } catch (...) {
    // Its request has ended; there may be another to go on with.
    console_.had_listener = false;
    throw;
  }
}

/// Many requests to a guest look at once: a look that began after `since` serves them all. Not for
/// economy alone: while commands hang in two of the server's three workers, and the next ones take
/// their places, a look for each would wait behind them and tell the last ones late.
awaitable<std::optional<Error>> VmWatch::look(SteadyTime began, SteadyTime since) {
  const auto turn = co_await one_look_.acquire();
  if (last_look_ < since) {
    const auto started = now();
    sight_ = co_await see();
    last_look_ = started;
    silence_.looked(sight_.reach, began, now());
  }
  auto death = cause_of_death(sight_, silence_, patience_, now(), words_);
  if (death && console_.silence && console_.silence == silence_.end_of(patience_)) {
    for (const auto& line : last_lines(console_.printed)) death->hint += "\n  console: " + line;
  }
  co_return death;
}

awaitable<Sight> VmWatch::see() const {
  Answers answers;
  try {
    co_await with_company(ask_for_vm(client_, vm_, answers),
                          ask_for_nodes_and_end_if_silent(client_, answers));
  } catch (const Error&) {
    if (!answers.server_is_silent()) throw;
  }
  if (!answers.vm && !answers.nodes && !answers.nodes_failure) {
    co_await ask_for_nodes(client_, answers);
  }
  co_return sight_of(answers, vm_.node);
}

}  // namespace px::guest
