#include "sandbox/lease.hpp"

#include "pve/pools.hpp"
#include "sandbox/run_record.hpp"
#include "support/log.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace px::sandbox {

using namespace std::chrono_literals;

namespace {

constexpr auto call_limit = 20s;

struct LeasedServer {
  std::weak_ptr<pve::Client> client;
  std::string host;
  RunRecord record;
  bool is_there = false;    ///< as far as is known: answers get lost
  bool is_refused = false;  ///< the user has no right to it
};

/// Makes or renews the record; what an answer that was lost did is found out by the refusal.
awaitable<void> write(pve::Client& client, LeasedServer& server) {
  server.record.renewed = time_of(client);
  const auto limit = Deadline::after(call_limit);
  for (bool again = false;; again = true) {
    const bool was_there = server.is_there;
    try {
      if (was_there) {
        co_await pve::pools::set_comment(client, server.record.pool(), server.record.comment(),
                                         limit);
      } else {
        co_await pve::pools::create(client, server.record.pool(), server.record.comment(), limit);
      }
      server.is_there = true;
      co_return;
    } catch (const Error& error) {
      const auto other = was_there ? Errc::not_found : Errc::already_exists;
      if (error.kind != other || again) throw;
      server.is_there = !was_there;
    }
  }
}

/// Sets `failed` when it is worth another try.
awaitable<void> try_to_write(std::shared_ptr<LeasedServer> server, bool& failed) {
  const auto client = server->client.lock();
  if (!client || server->is_refused) co_return;
  try {
    co_await write(*client, *server);
  } catch (const Error& error) {
    if (error.kind == Errc::cancelled) throw;
    server->is_refused = error.kind == Errc::forbidden;
    failed = failed || !server->is_refused;
    log::info("{}: pool {}, by which other machines know that this run lives: {}", server->host,
              server->record.pool(), error.what());
  }
}

/// Sets `left` when it could not.
awaitable<void> try_to_remove(std::shared_ptr<LeasedServer> server, bool& left) {
  const auto client = server->client.lock();
  if (!client || server->is_refused) co_return;
  try {
    co_await pve::pools::remove(*client, server->record.pool(), Deadline::after(call_limit));
  } catch (const Error& error) {
    if (error.kind == Errc::cancelled) throw;
    if (error.kind == Errc::not_found) co_return;
    left = true;
    log::warn("{}: pool {} is left, which proxmox-sandbox cleanup --dead removes: {}", server->host,
              server->record.pool(), error.what());
  }
}

}  // namespace

struct Lease::State {
  State(const RunId& run_, LeaseTerms terms_) : run{run_}, terms{terms_} {}

  RunId run;
  LeaseTerms terms;
  std::vector<std::shared_ptr<LeasedServer>> servers{};
  bool failed = false;
  Semaphore one_change{1};
  asio::cancellation_signal stop{};
  std::shared_ptr<Event> stopped{};  ///< while the renewal runs

  awaitable<void> write_all() {
    failed = false;
    std::vector<awaitable<void>> work;
    for (const auto& server : servers) work.push_back(try_to_write(server, failed));
    co_await all(std::move(work));
  }

  awaitable<void> renew() {
    for (;;) {
      co_await sleep_for(failed ? terms.retry_after : terms.renew_every);
      co_await write_all();
    }
  }
};

Lease::Lease(const RunId& run, LeaseTerms terms) : state_{std::make_shared<State>(run, terms)} {}

Lease::~Lease() {
  state_->stop.emit(asio::cancellation_type::terminal);
}

awaitable<void> Lease::take(std::shared_ptr<pve::Client> server) {
  const auto state = state_;
  const auto permit = co_await state->one_change.acquire();
  const auto same = [&](const auto& known) { return known->client.lock() == server; };
  if (std::ranges::any_of(state->servers, same)) co_return;
  const auto made = std::make_shared<LeasedServer>();
  made->client = server;
  made->host = server->instance().host;
  made->record.run = state->run.text;
  made->record.node = server->instance().node;
  made->record.since = time_of(*server);
  state->servers.push_back(made);
  co_await try_to_write(made, state->failed);
  if (state->stopped) co_return;
  const auto executor = co_await asio::this_coro::executor;
  state->stopped = std::make_shared<Event>(executor);
  const auto renew = [](std::shared_ptr<State> of) -> awaitable<void> { co_await of->renew(); };
  asio::co_spawn(executor, renew(state),
                 asio::bind_cancellation_slot(state->stop.slot(), [state](std::exception_ptr) {
                   std::exchange(state->stopped, nullptr)->set();
                 }));
}

awaitable<void> Lease::keep() {
  const auto state = state_;
  const auto permit = co_await state->one_change.acquire();
  for (const auto& server : state->servers) server->record.kept = true;
  co_await state->write_all();
}

awaitable<bool> Lease::give_back() {
  const auto state = state_;
  const auto permit = co_await state->one_change.acquire();
  if (const auto stopped = state->stopped) {
    state->stop.emit(asio::cancellation_type::terminal);
    co_await stopped->wait();
  }
  std::vector<awaitable<void>> work;
  bool left = false;
  for (const auto& server : state->servers) work.push_back(try_to_remove(server, left));
  co_await all(std::move(work));
  // Who was refused once need not ask again.
  std::erase_if(state->servers, [](const auto& server) { return !server->is_refused; });
  co_return !left;
}

network::TellNote Lease::notes_on(std::shared_ptr<pve::Client> server) {
  const auto write_down = [](std::shared_ptr<State> state, std::shared_ptr<pve::Client> client,
                             network::ChangeNote note) -> awaitable<void> {
    const auto permit = co_await state->one_change.acquire();
    for (const auto& known : state->servers) {
      if (!client || known->client.lock() != client) continue;
      known->record.change = std::move(note);
      // Nothing is told by the next renewal.
      if (!known->record.change.empty()) co_await try_to_write(known, state->failed);
      co_return;
    }
  };
  return [write_down, state = state_, client = std::weak_ptr{server}](network::ChangeNote note) {
    return write_down(state, client.lock(), std::move(note));
  };
}

}  // namespace px::sandbox
