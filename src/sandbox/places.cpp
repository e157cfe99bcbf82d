#include "sandbox/places.hpp"

#include "support/log.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace px::sandbox {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

namespace {

/// What others hold is asked for anew after so long: before a choice, and while a sample waits.
constexpr auto room_is_known_for = 30s;
constexpr auto waiting_look = 5s;
constexpr auto says_after = 60s;
constexpr auto says_again = 300s;

std::string line_key(const Demand& demand) {
  std::string out;
  for (const auto& server : demand.servers) out += server->instance().id + "|";
  return out;
}

/// An instance's own limit counts over all of its nodes.
int fits(Host& host, const Share& share) {
  const auto& most = host.room.most_samples;
  if (!most) return host.room.fits(share);
  return std::max(*most - host.server().samples(), 0);
}

/// "for 2 min"
std::string span_text(std::chrono::seconds span) {
  return span < 120s ? fmt::format("{} s", span.count()) : fmt::format("{} min", span.count() / 60);
}

}  // namespace

// --- decisions -----------------------------------------------------------------------------------

std::optional<std::size_t> choose_host(const std::vector<HostSeen>& candidates) {
  std::optional<std::size_t> best;
  const auto rank = [](const HostSeen& c) {
    return std::make_tuple(c.fits, c.free_memory, -c.samples);
  };
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const auto& candidate = candidates[i];
    if (!candidate.is_well || !candidate.may_start || candidate.fits < 1) continue;
    if (!best || rank(candidate) > rank(candidates[*best])) best = i;
  }
  return best;
}

bool is_connection_fault(const Error& error) noexcept {
  switch (error.kind) {
    case Errc::unreachable:
    case Errc::tls:
    case Errc::auth:
    case Errc::proxy:
    case Errc::protocol:
      return true;
    default:
      return false;
  }
}

bool is_servers_fault(const Error& error, bool is_made) noexcept {
  if (is_connection_fault(error)) return true;
  if (is_made) return false;
  switch (error.kind) {
    case Errc::forbidden:
    case Errc::busy:
    case Errc::timeout:
    case Errc::server:
    case Errc::task_failed:
    case Errc::unavailable:
    case Errc::not_found:
      return true;
    default:
      return false;
  }
}

void set_aside(Host& host, const Error& error, SteadyTime began) {
  const bool whole = is_connection_fault(error);
  auto& health = whole ? host.server().health : host.health;
  const bool was_well = health.is_well();
  const auto now = steady_clock::now();
  health.failed(began, now, error.what());
  if (was_well && !health.is_well()) log::warn("{} is {}", host.name(), health.text(now));
}

// --- a place -------------------------------------------------------------------------------------

Place::Place(std::shared_ptr<Places> places, std::shared_ptr<Host> host, Share share)
    : places_{std::move(places)}, host_{std::move(host)}, share_{share} {
  host_->room.ours += share_;
  ++host_->room.samples;
  host_->ramp.began();
  places_->changed();
}

Place::~Place() {
  if (is_starting_) host_->ramp.ended();
  host_->room.ours -= share_;
  --host_->room.samples;
  places_->changed();
}

void Place::started(std::chrono::duration<double> took) {
  host_->ramp.ended_well(took);
  host_->health.proved();
  host_->server().health.proved();
  end_start();
}

void Place::could_not_start() {
  host_->ramp.failed();
  end_start();
}

void Place::end_start() {
  is_starting_ = false;
  places_->changed();
}

// --- the queue -----------------------------------------------------------------------------------

std::vector<std::shared_ptr<Host>> Places::hosts_for(const Demand& demand) const {
  std::vector<std::shared_ptr<Host>> out;
  for (const auto& server : demand.servers) {
    for (auto& host : server->hosts()) {
      if (host == demand.not_there || (demand.suits && !demand.suits(*host))) continue;
      out.push_back(std::move(host));
    }
  }
  return out;
}

std::shared_ptr<Host> Places::choose(const Demand& demand) const {
  const auto share = share_of(*demand.spec);
  const auto hosts = hosts_for(demand);
  std::vector<HostSeen> candidates;
  for (const auto& host : hosts) {
    const bool refuses = !host->room.refusal_of(*demand.spec, "").empty();
    candidates.push_back({.is_well = host->is_well(),
                          .may_start = host->ramp.may_start(),
                          .fits = refuses ? 0 : fits(*host, share),
                          .samples = host->room.samples,
                          .free_memory = host->room.free_memory()});
  }
  const auto chosen = choose_host(candidates);
  return chosen ? hosts[*chosen] : nullptr;
}

void Places::check(const Demand& demand) const {
  std::vector<std::string> refusals;
  bool all_are_known = true;
  for (const auto& server : demand.servers) {
    // What can't be asked now may have the room.
    if (!server->is_connected()) all_are_known = false;
  }
  const auto hosts = hosts_for(demand);
  for (const auto& host : hosts) {
    auto refusal = host->room.refusal_of(*demand.spec, host->name());
    if (refusal.empty()) return;
    refusals.push_back(std::move(refusal));
  }
  if (!all_are_known || hosts.empty()) return;
  throw_bad_input("vms_config", share_text(*demand.spec),
                  fmt::format("no host of pool {} can ever hold that: {}",
                              demand.spec->instance_pool_id, fmt::join(refusals, "; ")));
}

awaitable<std::shared_ptr<Place>> Places::take(Demand demand) {
  auto& line = lines_[line_key(demand)];
  if (!line) line = std::make_unique<Semaphore>(1);
  const auto since = steady_clock::now();
  auto say_at = since + says_after;
  const auto turn = co_await line->acquire();
  co_await bring_back(demand.servers);
  co_await look(demand, room_is_known_for);
  for (;;) {
    check(demand);
    if (auto host = choose(demand)) {
      co_return std::make_shared<Place>(shared_from_this(), std::move(host),
                                        share_of(*demand.spec));
    }
    const auto now = steady_clock::now();
    if (now >= say_at) {
      check_kept(demand);
      say(demand, std::chrono::floor<std::chrono::seconds>(now - since), line->waiting());
      say_at = now + says_again;
    }
    co_await wait_for_change();
    co_await bring_back(demand.servers);
    co_await look(demand, waiting_look);
  }
}

/// A server that does not answer is set aside.
awaitable<void> Places::look(const Demand& demand, std::chrono::seconds age) {
  const auto one = [this, age](std::shared_ptr<Server> server) -> awaitable<void> {
    const auto began = steady_clock::now();
    try {
      co_await server->look_at_room(age, [&] { return terms_.own(*server); });
    } catch (const Error& error) {
      for (const auto& host : server->hosts()) set_aside(*host, error, began);
    }
  };
  std::vector<awaitable<void>> work;
  for (const auto& server : demand.servers) {
    const bool can_tell = server->is_connected() && server->health.is_well();
    if (can_tell && !server->knows_room(age)) work.push_back(one(server));
  }
  co_await all(std::move(work));
  if (terms_.on_change) terms_.on_change();
}

awaitable<void> Places::bring_back(const std::vector<std::shared_ptr<Server>>& servers) {
  const auto one = [](Health& health, std::string name, awaitable<void> work) -> awaitable<void> {
    const auto began = steady_clock::now();
    try {
      co_await std::move(work);
      health.returned();
      log::info("{} is used again", name);
    } catch (const Error& error) {
      health.failed(began, steady_clock::now(), error.what());
      log::info("{} is still {}", name, health.text(steady_clock::now()));
    }
  };
  std::vector<awaitable<void>> work;
  const auto now = steady_clock::now();
  for (const auto& server : servers) {
    if (server->health.is_due(now)) {
      work.push_back(one(server->health, server->instance().host, terms_.return_of_server(server)));
    }
    for (const auto& host : server->hosts()) {
      if (!host->health.is_due(now) || !server->health.is_well()) continue;
      work.push_back(one(host->health, host->name(), terms_.return_of_host(host)));
    }
  }
  const bool some_were_due = !work.empty();
  co_await all(std::move(work), false);
  if (some_were_due && terms_.on_change) terms_.on_change();
}

void Places::changed() {
  if (terms_.on_change) terms_.on_change();
  for (auto* sleeper : sleepers_) sleeper->cancel();
}

awaitable<void> Places::wait_for_change() {
  asio::steady_timer timer{co_await asio::this_coro::executor, waiting_look};
  sleepers_.insert(&timer);
  const std::shared_ptr<void> listed{nullptr, [&](void*) { sleepers_.erase(&timer); }};
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) {
    throw boost::system::system_error{asio::error::operation_aborted};
  }
}

std::string Places::blocked_by(const Demand& demand) const {
  std::vector<std::string> out;
  const auto now = steady_clock::now();
  for (const auto& server : demand.servers) {
    if (!server->health.is_well()) {
      out.push_back(server->instance().host + " is " + server->health.text(now));
      continue;
    }
    for (const auto& host : server->hosts()) {
      auto text = host->name() + ": " + host->room.text();
      if (!host->is_online) text = host->name() + " is offline";
      if (!host->health.is_well()) text = host->name() + " is " + host->health.text(now);
      if (!host->ramp.may_start()) text += fmt::format(", {} starting", host->ramp.starting());
      out.push_back(std::move(text));
    }
  }
  return fmt::format("{}", fmt::join(out, "; "));
}

void Places::say(const Demand& demand, std::chrono::seconds waited, std::size_t behind) const {
  log::warn("{} has waited {} for {}; {}; {} wait behind it", demand.who, span_text(waited),
            share_text(*demand.spec), blocked_by(demand), behind);
}

/// Nobody would ever give back what kept VMs hold.
void Places::check_kept(const Demand& demand) const {
  if (!terms_.keeps_vms()) return;
  const auto hosts = hosts_for(demand);
  const bool someone_lives =
      std::ranges::any_of(hosts, [](const auto& host) { return host->room.samples > 0; });
  if (someone_lives) return;
  throw Error{Errc::unavailable,
              fmt::format("no room for {}: {}", share_text(*demand.spec), blocked_by(demand))}
      .with_hint(
          "VMs that were kept hold it: proxmox-sandbox ls shows them, proxmox-sandbox cleanup "
          "removes them");
}

}  // namespace px::sandbox
