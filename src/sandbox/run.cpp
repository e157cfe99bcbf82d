#include "sandbox/run.hpp"

#include "pve/nodes.hpp"
#include "sandbox/cleanup.hpp"
#include "sandbox/web_sources.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace px::sandbox {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

namespace {

constexpr auto quick_look = 5s;
/// For Inspect's own limit, before it knows a sample: the smallest that make sense.
constexpr Share small_sample{std::int64_t{512} << 20, 1};

/// Instances with the same key share a Server, and with it connections and look-ups.
std::string key_of(const pve::Instance& instance) {
  const auto secret =
      sha256_hex(instance.password.reveal() + '\n' + instance.token_secret.reveal());
  return fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", instance.id, instance.host,
                     instance.port, instance.user, instance.realm, instance.token_id, instance.node,
                     instance.verify_tls, instance.fingerprint, instance.image_storage,
                     instance.max_sandboxes.value_or(0), instance.memory_reserve_mb.value_or(-1),
                     secret);
}

/// What a configuration finds missing on one node of several, another one may have.
bool is_unfit(const Error& error, Server& server) {
  const bool says_so = error.kind == Errc::bad_input || error.kind == Errc::unsupported;
  return says_so && server.hosts().size() > 1;
}

std::vector<std::shared_ptr<Host>> hosts_of(const std::vector<std::shared_ptr<Server>>& servers) {
  std::vector<std::shared_ptr<Host>> out;
  for (const auto& server : servers) {
    for (auto& host : server->hosts()) out.push_back(std::move(host));
  }
  return out;
}

/// Samples of that share that a server takes besides those that it has.
std::int64_t more_on(Server& server, const Share& share) {
  if (const auto& most = server.instance().max_sandboxes) return *most - server.samples();
  std::int64_t out = 0;
  for (const auto& host : server.hosts()) out += host->room.fits(share);
  return out;
}

}  // namespace

/// What is tried for one sample, on one host and perhaps on another.
struct Run::Attempt {
  Spec spec;
  std::string key;  ///< of the specification
  std::string task;
  std::string sample;
  std::vector<std::shared_ptr<Server>> servers;
  std::shared_ptr<Host> failed_on{};
  std::shared_ptr<Sandbox> sandbox{};

  std::string who() const {
    return sample.empty() ? fmt::format("a sample of {}", task)
                          : fmt::format("sample {} of {}", sample, task);
  }
};

Run::Run(asio::any_io_executor executor, asio::thread_pool& pool, Environment environment)
    : executor_{std::move(executor)},
      pool_{pool},
      environment_{std::move(environment)},
      places_{std::make_shared<Places>(Places::Terms{
          .own = [this](const Server& server) { return own_vms(server); },
          .return_of_server =
              [this](std::shared_ptr<Server> server) { return return_of(std::move(server)); },
          .return_of_host = [this](std::shared_ptr<Host> host) -> awaitable<void> {
            co_await destroy_left(*host);
          },
          .keeps_vms =
              [this] {
                return std::ranges::any_of(sandboxes_, [](const auto& sandbox) {
                  return !sandbox->gone() && !sandbox->has_place();
                });
              },
          .on_change =
              [this] {
                note_use();
                tell_who_is_set_aside();
              }})} {}

/// Places may live longer than the run.
Run::~Run() {
  places_->close();
}

awaitable<Spec> Run::read(std::string spec_json) {
  const auto known = of_the_web_.find(spec_json);
  if (known != of_the_web_.end()) co_return known->second;
  if (!names_web_sources(spec_json)) {
    co_return co_await run_in_pool(pool_, [&] { return parse_spec(spec_json); });
  }
  const auto text = co_await fetch_sources(pool_, spec_json);
  auto spec = co_await run_in_pool(pool_, [&] { return parse_spec(text); });
  of_the_web_.insert_or_assign(std::move(spec_json), spec);
  co_return spec;
}

std::shared_ptr<Server> Run::server_for(pve::Instance instance) {
  auto& server = servers_[key_of(instance)];
  if (!server) {
    server = std::make_shared<Server>(executor_, pool_, std::move(instance), id_, environment_);
  }
  return server;
}

std::vector<std::shared_ptr<Server>> Run::servers_for(const Spec& spec) {
  std::vector<std::shared_ptr<Server>> out;
  for (auto& instance : instances_for(spec, environment_)) {
    out.push_back(server_for(std::move(instance)));
  }
  return out;
}

void Run::show_life() {
  if (!life_sign_) life_sign_.emplace(id_, environment_);
}

awaitable<void> Run::end_life() {
  const auto has_ended = [this] { return life_sign_ && prepared_ == 0 && sandboxes_.empty(); };
  if (!has_ended()) co_return;
  const bool nothing_is_left = co_await lease_.give_back();
  if (!has_ended()) co_return;  // another task began meanwhile
  // Else who cleans up after the dead finds it by the sign.
  if (nothing_is_left) life_sign_->clear();
  life_sign_.reset();
}

// --- a task's start ------------------------------------------------------------------------------

awaitable<void> Run::prepare(std::string spec_json) {
  const Spec spec = co_await read(spec_json);
  show_life();
  // Nobody calls sweep() for a task that did not begin.
  co_await with_undo(prepare_on(servers_for(spec), spec, sha256_hex(spec_json)), undo_prepare());
}

awaitable<void> Run::prepare_on(std::vector<std::shared_ptr<Server>> servers, const Spec& spec,
                                std::string key) {
  co_await prepare_servers(servers, spec, std::move(key));
  ++prepared_;
  // Another one that failed meanwhile may have ended them.
  show_life();
  for (const auto& server : servers) {
    if (server->is_connected()) co_await lease_.take({server, &server->client()});
  }
}

awaitable<void> Run::undo_prepare() {
  try {
    if (prepared_ == 0) co_await remove_networks();
    co_await end_life();
  } catch (const Error& error) {
    log::error("networks of a start that failed are left: {}", error.what());
  }
}

namespace {

/// A part of a start that may fail for a server's reason: then the server is set aside.
class OnEachServer {
 public:
  using Work = std::function<awaitable<void>(std::shared_ptr<Server>)>;

  awaitable<void> run(const std::vector<std::shared_ptr<Server>>& servers, Work work) {
    std::vector<awaitable<void>> all_work;
    for (const auto& server : servers) {
      if (server->health.is_well()) all_work.push_back(on(server, work));
    }
    co_await all(std::move(all_work));
    const bool some_are_well =
        std::ranges::any_of(servers, [](const auto& server) { return server->health.is_well(); });
    if (!some_are_well && first_) throw *first_;
    for (const auto& text : told_) log::warn("{}", text);
    told_.clear();
  }

 private:
  awaitable<void> on(std::shared_ptr<Server> server, const Work& work) {
    const auto began = steady_clock::now();
    try {
      co_await work(server);
    } catch (const Error& error) {
      if (!is_servers_fault(error, false)) throw;
      const auto now = steady_clock::now();
      server->health.failed(began, now, error.what());
      told_.push_back(fmt::format("{} is {}", server->instance().host, server->health.text(now)));
      if (!first_) first_ = error;
    }
  }

  std::optional<Error> first_;
  std::vector<std::string> told_;
};

}  // namespace

awaitable<void> Run::prepare_servers(const std::vector<std::shared_ptr<Server>>& servers,
                                     const Spec& spec, const std::string& key) {
  OnEachServer on_each;
  // A task's start asks anew also those that were set aside before.
  for (const auto& server : servers) server->health.returned();
  co_await on_each.run(servers, [](std::shared_ptr<Server> server) { return server->connect(); });
  // First, for it makes room.
  if (!std::exchange(looked_for_dead_, true)) {
    co_await clean_up_after_the_dead(servers, environment_);
  }
  co_await on_each.run(servers, [this](std::shared_ptr<Server> server) {
    return server->look_at_room(quick_look, [this, server] { return own_vms(*server); });
  });
  places_->check({.spec = &spec, .who = "a sample", .servers = servers});
  co_await on_each.run(servers, [&](std::shared_ptr<Server> server) {
    return prepare_server(std::move(server), spec, key);
  });
  places_->changed();
}

/// Of a cluster's nodes the one with most room is made ready; the others when a sample gets there.
awaitable<void> Run::prepare_server(std::shared_ptr<Server> server, const Spec& spec,
                                    const std::string& key) {
  auto hosts = server->hosts();
  std::ranges::sort(hosts, std::greater{},
                    [](const auto& host) { return host->room.free_memory(); });
  co_await lease_.take({server, &server->client()});
  server->leases().note_changes_by(lease_.notes_on({server, &server->client()}));
  std::optional<Error> unfit;
  bool is_ready = false;
  for (const auto& host : hosts) {
    if (is_ready) break;
    try {
      co_await host->prepare(spec, key);
      is_ready = true;
    } catch (const Error& error) {
      if (!is_unfit(error, *server)) throw;
      host->unfit[key] = error.what();
      if (!unfit) unfit = error;
    }
  }
  if (!is_ready && unfit) throw *unfit;
  // Inspect does not name the task yet.
  const auto most = std::max<std::int64_t>(more_on(*server, share_of(spec)), 1);
  co_await server->leases().prepare(co_await server->possible(spec.networks), "",
                                    static_cast<std::size_t>(most));
}

awaitable<void> Run::remove_networks() {
  std::vector<awaitable<void>> work;
  for (const auto& [key, server] : servers_) {
    if (server->is_connected()) work.push_back(server->leases().remove_free());
  }
  co_await all(std::move(work), false);
}

// --- a sample ------------------------------------------------------------------------------------

Demand Run::demand_of(const Attempt& attempt) {
  for (const auto& server : attempt.servers) {
    last_shares_[server->instance().pool] = share_of(attempt.spec);
  }
  return {.spec = &attempt.spec,
          .who = attempt.who(),
          .servers = attempt.servers,
          .not_there = attempt.failed_on,
          .suits = [&key = attempt.key](const Host& host) { return !host.unfit.contains(key); }};
}

awaitable<Run::Attempt> Run::begin(std::string spec_json, std::string task, std::string sample) {
  Attempt out{
      co_await read(spec_json), sha256_hex(spec_json), std::move(task), std::move(sample), {}};
  out.servers = servers_for(out.spec);
  co_await connect_new(out.servers);
  co_return out;
}

awaitable<std::shared_ptr<Place>> Run::take_place(std::string spec_json, std::string task,
                                                  std::string sample) {
  const auto attempt = co_await begin(std::move(spec_json), std::move(task), std::move(sample));
  co_return co_await places_->take(demand_of(attempt));
}

/// Those that a sample names itself; what a task named is connected.
awaitable<void> Run::connect_new(const std::vector<std::shared_ptr<Server>>& servers) {
  const bool has_new = std::ranges::any_of(servers, [](const auto& server) {
    return !server->is_connected() && server->health.is_well();
  });
  if (!has_new) co_return;
  OnEachServer on_each;
  co_await on_each.run(servers, [](std::shared_ptr<Server> server) { return server->connect(); });
}

awaitable<void> Run::bring_up_at(Attempt& attempt, std::shared_ptr<Place> place) {
  const auto host = place->host();
  co_await host->prepare(attempt.spec, attempt.key);
  attempt.sandbox =
      std::make_shared<Sandbox>(std::move(place), attempt.spec, id_, attempt.task, attempt.sample);
  // Known to sweep() before anything of it exists.
  sandboxes_.push_back(attempt.sandbox);
  co_await attempt.sandbox->bring_up();
  std::erase_if(sandboxes_, [](const auto& other) { return other->gone(); });
}

awaitable<std::shared_ptr<Sandbox>> Run::bring_up(std::string spec_json, std::string task,
                                                  std::string sample,
                                                  std::shared_ptr<Place> place) {
  auto attempt = co_await begin(std::move(spec_json), std::move(task), std::move(sample));
  show_life();
  for (;;) {
    if (!place) place = co_await places_->take(demand_of(attempt));
    const auto host = place->host();
    const auto began = steady_clock::now();
    std::optional<Error> failure;
    attempt.sandbox.reset();
    try {
      co_await bring_up_at(attempt, std::exchange(place, nullptr));
      co_return attempt.sandbox;
    } catch (const Error& error) {
      failure = error;
    }
    if (is_unfit(*failure, host->server()) && !attempt.sandbox) {
      host->unfit[attempt.key] = failure->what();
      if (!has_other(attempt, *host)) throw *std::move(failure);
      continue;
    }
    const bool is_made = attempt.sandbox && attempt.sandbox->is_made();
    if (!is_servers_fault(*failure, is_made)) throw *std::move(failure);
    const bool may_try_again = !attempt.failed_on && has_other(attempt, *host);
    // Without another one there is nothing to choose, and the next sample may be luckier.
    if (may_try_again || is_connection_fault(*failure)) set_aside(*host, *failure, began);
    places_->changed();
    if (!may_try_again) throw *std::move(failure);
    log::warn("{} could not be made on {}, and is tried once on another host: {}", attempt.who(),
              host->name(), failure->what());
    attempt.failed_on = host;
  }
}

/// Whether there is another host that is well.
bool Run::has_other(const Attempt& attempt, const Host& host) const {
  const auto hosts = hosts_of(attempt.servers);
  return std::ranges::any_of(hosts, [&](const auto& other) {
    return other.get() != &host && other->is_well() && !other->unfit.contains(attempt.key);
  });
}

// --- trouble and its end -------------------------------------------------------------------------

/// It answers again, and what could not be removed there is.
awaitable<void> Run::return_of(std::shared_ptr<Server> server) {
  if (server->is_connected()) {
    co_await with_deadline(
        [](pve::Client& client) -> awaitable<void> {
          co_await pve::nodes::list(client);
        }(server->client()),
        Deadline::after(quick_look), "ask for the nodes");
  } else {
    co_await with_deadline(server->connect(), Deadline::after(quick_look), "connect");
  }
  for (const auto& host : server->hosts()) co_await destroy_left(*host);
}

awaitable<void> Run::destroy_left(const Host& host) {
  const auto sandboxes = sandboxes_;  // may change meanwhile
  for (const auto& sandbox : sandboxes) {
    if (&sandbox->host() == &host && sandbox->is_left()) co_await sandbox->destroy();
  }
}

// --- a task's end --------------------------------------------------------------------------------

awaitable<std::vector<std::string>> Run::sweep(bool cleanup) {
  std::vector<std::string> lines;
  std::vector<awaitable<void>> work;
  for (const auto& sandbox : sandboxes_) {
    if (sandbox->gone()) continue;
    for (const auto& vm : sandbox->vms()) {
      if (vm->vmid() == 0) continue;
      lines.push_back(fmt::format("{}; console: {}", vm->text(), vm->console_url()));
    }
    if (cleanup) work.push_back(sandbox->destroy());
  }
  std::exception_ptr failure;
  try {
    co_await all(std::move(work), false);
  } catch (const Error&) {
    failure = std::current_exception();
  }
  if (prepared_ > 0) --prepared_;
  // What a VM is still in is in use, and stays with it.
  if (prepared_ == 0) co_await remove_networks();
  if (failure) std::rethrow_exception(failure);
  std::erase_if(sandboxes_, [](const auto& sandbox) { return sandbox->gone(); });
  if (!lines.empty() && !cleanup) {
    if (life_sign_) life_sign_->keep();
    co_await lease_.keep();
    lines.push_back(fmt::format(
        "To delete all of it: proxmox-sandbox cleanup --run {0} --yes (or: inspect sandbox cleanup "
        "proxmox {0})",
        id_.text));
  }
  co_await end_life();
  co_return lines;
}

// --- how much there is ---------------------------------------------------------------------------

std::vector<std::uint32_t> Run::own_vms(const Server& server) const {
  std::vector<std::uint32_t> out;
  for (const auto& sandbox : sandboxes_) {
    if (!sandbox->has_place() || &sandbox->host().server() != &server) continue;
    for (const auto& vm : sandbox->vms()) out.push_back(vm->vmid());
  }
  return out;
}

namespace {

int as_limit(std::int64_t number) {
  return static_cast<int>(std::clamp<std::int64_t>(number, 0, std::numeric_limits<int>::max()));
}

}  // namespace

awaitable<std::optional<int>> Run::capacity() {
  std::vector<std::shared_ptr<Server>> servers;
  for (auto& instance : read_instances(environment_)) servers.push_back(server_for(instance));
  const auto look = [this](std::shared_ptr<Server> server) -> awaitable<void> {
    co_await server->connect();
    co_await server->look_at_room(60s, [this, server] { return own_vms(*server); });
  };
  const auto look_in_time = [&](std::shared_ptr<Server> server) -> awaitable<void> {
    try {
      co_await with_deadline(look(server), Deadline::after(quick_look), "look at the room");
    } catch (const Error& error) {
      log::debug("the room on {} is not known: {}", server->instance().host, error.what());
    }
  };
  std::vector<awaitable<void>> work;
  for (const auto& server : servers) work.push_back(look_in_time(server));
  co_await all(std::move(work));
  std::int64_t out = 0;
  for (const auto& server : servers) {
    if (!server->is_connected()) continue;
    out += server->samples() + std::max<std::int64_t>(more_on(*server, small_sample), 0);
  }
  if (out == 0 || out >= std::numeric_limits<int>::max()) co_return std::nullopt;
  co_return static_cast<int>(out);
}

void Run::note_use() {
  std::map<std::string, Use> now;
  for (const auto& [key, server] : servers_) {
    if (!server->is_connected()) continue;
    const auto& pool = server->instance().pool;
    const auto share = last_shares_.find(pool);
    auto& use = now[pool];
    use.samples += server->samples();
    const auto more = server->health.is_well() && share != last_shares_.end()
                          ? more_on(*server, share->second)
                          : 0;
    use.most =
        as_limit(std::int64_t{use.most} + server->samples() + std::max<std::int64_t>(more, 0));
  }
  const std::lock_guard lock{use_lock_};
  use_ = std::move(now);
}

/// To those who look from another process.
void Run::tell_who_is_set_aside() {
  if (!life_sign_) return;
  std::vector<SetAside> out;
  const auto now = steady_clock::now();
  const auto wall_now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  const auto add = [&](const Health& health, const pve::Instance& server, std::string node) {
    if (health.is_well()) return;
    out.push_back({server.host, std::move(node), health.why(), wall_now + health.left(now)});
  };
  for (const auto& [key, server] : servers_) {
    add(server->health, server->instance(), "");
    for (const auto& host : server->hosts()) {
      add(host->health, host->instance(), host->node().text());
    }
  }
  life_sign_->tell(out);
}

Run::Use Run::use_of(const std::string& pool) const {
  const std::lock_guard lock{use_lock_};
  const auto it = use_.find(pool);
  if (it != use_.end()) return it->second;
  // The single variables' server serves all pools.
  return use_.size() == 1 ? use_.begin()->second : Use{};
}

}  // namespace px::sandbox
