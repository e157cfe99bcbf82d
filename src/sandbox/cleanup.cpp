#include "sandbox/cleanup.hpp"

#include "pve/pools.hpp"
#include "pve/sdn.hpp"
#include "pve/storage.hpp"
#include "sandbox/life_sign.hpp"
#include "sandbox/marks.hpp"
#include "sandbox/removal.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

namespace px::sandbox {

using namespace std::chrono_literals;

namespace {

class Removal {
 public:
  Removal(pve::Client& client, OnRemoved on_removed)
      : client_{client}, on_removed_{std::move(on_removed)} {}

  awaitable<CleanupReport> run(CleanupChoice choice) {
    std::vector<awaitable<void>> work;
    for (const auto& chosen : choice.vms) {
      work.push_back(remove(text_of(chosen.what), remove_own_vm(chosen.what)));
    }
    co_await all(std::move(work));
    for (const auto& chosen : choice.files) {
      co_await remove(text_of(chosen.what), remove_file(chosen.what));
    }
    co_await free_lock(choice);
    if (report_.left.empty() && !choice.networks.empty()) co_await remove_networks(choice);
    if (report_.left.empty()) {
      for (const auto& chosen : choice.records) {
        co_await remove(text_of(chosen.what), remove_record(chosen.what));
      }
    }
    co_return std::move(report_);
  }

 private:
  awaitable<void> remove(std::string text, awaitable<void> removal) {
    try {
      co_await std::move(removal);
      done(text);
    } catch (const Error& error) {
      report_.left.push_back(fmt::format("{}: {}", text, error.what()));
    }
  }

  awaitable<void> remove_own_vm(OwnVm own) {
    const auto turn = co_await removals_.acquire();
    const auto same = [description = own.description](const pve::qemu::VmConfigMap& config) {
      return config.get("description") == description;
    };
    co_await remove_vm(client_, own.vm, text_of(own), same, true, Deadline::after(3min));
  }

  awaitable<void> remove_file(OwnFile own) {
    co_await pve::storage::delete_volume(client_, own.node, own.volume, Deadline::after(60s));
  }

  awaitable<void> remove_record(FoundRecord found) {
    try {
      co_await pve::pools::remove(client_, found.record.pool(), Deadline::after(60s));
    } catch (const Error& error) {
      if (error.kind != Errc::not_found) throw;
    }
  }

  /// A process that died in a change of the networks still has it.
  awaitable<void> free_lock(const CleanupChoice& choice) {
    try {
      for (const auto& token : choice.lock_tokens) co_await pve::sdn::unlock(client_, token);
      co_await pve::sdn::unlock_for_the_dead(client_);
    } catch (const Error& error) {
      report_.left.push_back(fmt::format("the SDN's lock: {}", error.what()));
    }
  }

  /// All with one apply, for each holds up the cluster.
  awaitable<void> remove_networks(const CleanupChoice& choice) {
    std::vector<network::Remains> sets;
    std::vector<std::string> names;
    for (const auto& chosen : choice.networks) {
      sets.push_back(chosen.what);
      names.push_back(text_of(chosen.what));
    }
    try {
      co_await network::remove_and_apply(client_, std::move(sets));
      for (const auto& name : names) done(name);
    } catch (const Error& error) {
      report_.left.push_back(fmt::format("{}: {}", fmt::join(names, ", "), error.what()));
    }
  }

  void done(const std::string& text) {
    report_.removed.push_back(text);
    if (on_removed_) on_removed_(text);
  }

  pve::Client& client_;
  OnRemoved on_removed_;
  CleanupReport report_;
  Semaphore removals_{removals_at_once};
};

awaitable<void> clean_server(std::shared_ptr<Server> server, const CleanupSelection& selection,
                             const LifeOf& life_of, CleanupReport& report) {
  try {
    co_await server->connect();
    const auto found = co_await find_belongings(server->client(), server->nodes());
    // After the things: a living run has its record before anything else.
    const auto records = co_await find_records(server->client());
    auto choice = choose(found, records, selection, life_of, Mark::now());
    auto done = co_await clean_up(server->client(), std::move(choice),
                                  [](const std::string& text) { log::info("removed {}", text); });
    std::ranges::move(done.removed, std::back_inserter(report.removed));
    std::ranges::move(done.left, std::back_inserter(report.left));
    co_await server->client().close();
  } catch (const Error& error) {
    if (error.kind == Errc::cancelled) throw;
    report.left.push_back(fmt::format("what is on {}: {}", server->instance().host, error.what()));
  }
}

}  // namespace

awaitable<CleanupReport> clean_up(pve::Client& client, CleanupChoice choice, OnRemoved on_removed) {
  Removal removal{client, std::move(on_removed)};
  co_return co_await removal.run(std::move(choice));
}

namespace {

std::string count_text(std::size_t number, std::string_view one) {
  return fmt::format("{} {}{}", number, one, number == 1 ? "" : "s");
}

/// What dead runs left on one server; false when something of it is still there.
awaitable<bool> clean_up_after_the_dead(std::shared_ptr<Server> server, Environment environment,
                                        bool keep) {
  const auto life = [&environment](const std::string& run) { return life_of(run, environment); };
  const auto found = co_await find_belongings(server->client(), server->nodes());
  const auto records = co_await find_records(server->client());
  auto choice = choose(found, records, {.dead = true}, life, Mark::now());
  const auto half_made =
      std::erase_if(choice.vms, [](const auto& chosen) { return chosen.what.is_being_made; });
  if (half_made > 0) choice.records.clear();  // by them others know whose those are
  if (choice.empty()) co_return half_made == 0;
  log::warn("runs that died left {}, {} and {} on {}: {}", count_text(choice.vms.size(), "VM"),
            count_text(choice.networks.size(), "network"), count_text(choice.files.size(), "file"),
            server->instance().host,
            keep ? "kept, as PROXMOX_SANDBOX_KEEP_DEAD says" : "removing them");
  if (keep) co_return false;
  const auto report = co_await clean_up(server->client(), std::move(choice));
  for (const auto& line : report.left) log::error("left of a dead run: {}", line);
  co_return report.left.empty() && half_made == 0;
}

awaitable<void> clean_up_quietly(std::shared_ptr<Server> server, Environment environment, bool keep,
                                 bool& is_clean) {
  try {
    const bool done = co_await clean_up_after_the_dead(server, environment, keep);
    is_clean = is_clean && done;
  } catch (const Error& error) {
    is_clean = false;
    log::warn("what dead runs left on {} was not removed: {}", server->instance().host,
              error.what());
  }
}

}  // namespace

awaitable<void> clean_up_after_the_dead(std::vector<std::shared_ptr<Server>> servers,
                                        Environment environment) {
  const auto dead = dead_runs(environment);
  if (dead.empty()) co_return;
  const bool keep = read_flag(environment, "PROXMOX_SANDBOX_KEEP_DEAD", false);
  const CleanupTurn turn{environment};
  if (!turn.is_ours()) co_return;  // another process is at it
  bool is_clean = servers.size() == read_instances(environment).size();
  std::vector<awaitable<void>> work;
  for (const auto& server : servers) {
    if (!server->is_connected()) {
      is_clean = false;
    } else {
      work.push_back(clean_up_quietly(server, environment, keep, is_clean));
    }
  }
  co_await all(std::move(work));
  if (!is_clean) co_return;  // another server may have more of theirs
  for (const auto& run : dead) forget_ended(run, environment);
}

awaitable<std::vector<std::string>> cleanup_from_environment(asio::thread_pool& pool,
                                                             std::string id,
                                                             Environment environment) {
  const auto executor = co_await asio::this_coro::executor;
  const RunId none;
  const CleanupSelection selection{.id = id, .everything = id.empty()};
  const LifeOf life = [&environment](const std::string& run) { return life_of(run, environment); };
  CleanupReport report;
  std::vector<awaitable<void>> work;
  for (auto& instance : read_instances(environment)) {
    auto server = std::make_shared<Server>(executor, pool, std::move(instance), none, environment);
    work.push_back(clean_server(std::move(server), selection, life, report));
  }
  co_await all(std::move(work));
  if (!report.left.empty()) {
    throw Error{Errc::unavailable, fmt::format("not everything could be removed:\n  {}",
                                               fmt::join(report.left, "\n  "))};
  }
  if (!id.empty() && report.removed.empty()) {
    throw_bad_input("id", id, "no run and no VM of ours has it");
  }
  forget_ended(id, environment);
  for (auto& line : report.removed) line = "removed " + line;
  co_return std::move(report.removed);
}

}  // namespace px::sandbox
