#include "network/leases.hpp"

#include "support/bytes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::network {

using namespace std::chrono_literals;
namespace sdn = pve::sdn;

namespace {

constexpr std::size_t samples_at_once = 10;  // Inspect's default
constexpr std::size_t most_vnets_at_first = 20;
/// For fixed ranges that another run has. It may be at work for long; or dead.
constexpr auto patience_with_another_run = 60min;
constexpr auto say_again = 1min;
constexpr int most_attempts = 5;
/// When ranges may have become free that others had.
constexpr auto look_for_ranges_again = 30s;
constexpr int all_octets = 252;  // 192.168.2.0/24 .. 192.168.253.0/24

int random_number(int below) {
  const auto bytes = random_bytes(2);
  const auto high = static_cast<unsigned char>(bytes[0]);
  const auto low = static_cast<unsigned char>(bytes[1]);
  return (high * 256 + low) % below;
}

NetworkSet set_of(const Plan& plan, std::string key, const std::string& prefix) {
  NetworkSet set{plan, std::move(key), pve::ZoneId::parse(zone_name(prefix)), {}};
  for (std::size_t i = 0; i < plan.vnets.size(); ++i) {
    set.vnets.push_back(pve::VnetId::parse(vnet_name(prefix, i)));
  }
  return set;
}

struct NoFreeRange : Error {
  explicit NoFreeRange(const std::string& host)
      : Error{Errc::unavailable,
              fmt::format("{} has no free range among 192.168.2.0/24 .. 192.168.253.0/24", host)} {
    hint = "Remove networks of dead runs: inspect sandbox cleanup proxmox";
  }
};

/// The server's address as we reach it, where it is given as one: it may be another's, in front.
std::vector<Cidr> own_address_of(const std::string& host) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(host, error);
  if (error) return {};
  return {Cidr::around("host", fmt::format("{}/{}", host, address.is_v4() ? 32 : 128))};
}

}  // namespace

// --- who has what --------------------------------------------------------------------------------

SharedSet Shelf::take(const std::string& key) {
  for (auto& entry : entries_) {
    if (entry.in_use || entry.set->key != key) continue;
    entry.in_use = true;
    return entry.set;
  }
  return nullptr;
}

void Shelf::give_back(const SharedSet& set) {
  for (auto& entry : entries_) {
    if (entry.set == set) entry.in_use = false;
  }
}

std::size_t Shelf::count(const std::string& key) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(entries_, [&](const Entry& entry) { return entry.set->key == key; }));
}

template <class Predicate>
std::vector<SharedSet> Shelf::take_out(Predicate wanted) {
  std::vector<SharedSet> out;
  std::erase_if(entries_, [&](const Entry& entry) {
    if (entry.in_use || !wanted(*entry.set)) return false;
    out.push_back(entry.set);
    return true;
  });
  return out;
}

std::vector<SharedSet> Shelf::take_out_free() {
  return take_out([](const NetworkSet&) { return true; });
}

std::vector<SharedSet> Shelf::take_out_in_the_way_of(const Plan& plan) {
  const auto key = plan.key();
  return take_out([&](const NetworkSet& set) {
    std::vector<Taken> ranges;
    for (const auto& vnet : set.plan.vnets) {
      for (const auto& subnet : vnet.subnets) ranges.push_back({subnet.cidr, ""});
    }
    return set.key != key && conflict_of(plan, ranges).has_value();
  });
}

std::size_t sets_to_make(const Plan& plan, std::size_t have, std::size_t waiting) {
  if (plan.has_fixed_ranges()) return have == 0 ? 1 : 0;
  const auto at_first = std::clamp<std::size_t>(
      most_vnets_at_first / std::max<std::size_t>(plan.vnets.size(), 1), 1, samples_at_once);
  return std::max(have == 0 ? at_first : std::min(have, at_first), waiting);
}

std::size_t fair_share(std::size_t wanted, std::size_t free) {
  const auto share = std::max<std::size_t>(free / 16, 1);
  return std::min({wanted, share, free});
}

// --- making --------------------------------------------------------------------------------------

/// One change of the server: what is to be made, and how far it came.
struct Leases::Making {
  Plan plan;
  std::size_t count;
  std::size_t waiting;  ///< of these sets, by samples; the others are for those that may come
  std::string task;
  std::vector<NetworkSet> sets{};  ///< recorded before the first request for each
  sdn::Lock lock{};
  bool applying = false;

  std::vector<Remains> made() const {
    std::vector<Remains> out;
    for (const auto& set : sets) out.push_back(remains_of(set));
    return out;
  }
};

Leases::Leases(pve::Client& client, std::vector<pve::NodeName> nodes, std::string run)
    : client_{client}, nodes_{std::move(nodes)}, run_{std::move(run)} {}

/// Makes `count` sets with one apply. Returns what is in the way, when that is another run's.
awaitable<std::optional<Conflict>> Leases::make(Plan plan, std::size_t count, std::size_t waiting,
                                                std::string task) {
  const auto permit = co_await one_change_.acquire();
  for (int attempt = 1;; ++attempt) {
    Making making{plan, count, waiting, task};
    std::optional<Conflict> conflict;
    co_await with_undo(make_in(making, conflict), undo(making));
    if (!conflict) {
      // First, for a cancellation would lose them on the way.
      for (auto& set : making.sets) shelf_.put(std::make_shared<NetworkSet>(std::move(set)));
      co_await tell({});
      co_return std::nullopt;
    }
    co_await shielded(undo(making));
    // On a server without the lock someone chose the same range at the same time; both yield.
    const bool other_range_will_do = plan.automatic && attempt < most_attempts;
    if (!other_range_will_do) co_return conflict;
  }
}

/// `conflict`: what is in the way, when that is another run's.
awaitable<void> Leases::make_in(Making& making, std::optional<Conflict>& conflict) {
  making.lock = co_await sdn::lock(client_);
  const auto limit = Deadline::after(change_limit);
  const sdn::Change change{making.lock.token(), limit};

  const auto found = co_await survey(client_, nodes_);
  if (const auto others = pending_changes(found); !others.empty()) {
    log::warn("changes that are not applied yet on {} are applied with ours: {}",
              client_.instance().host, fmt::join(others, ", "));
  }
  // What another configuration of this run had and does not use now must not be in the way.
  for (const auto& set : shelf_.take_out_in_the_way_of(making.plan)) {
    doomed_.push_back(remains_of(*set));
  }
  const auto taken = taken_without(found, doomed_);
  making.applying = !doomed_.empty();
  co_await remove(client_, doomed_, change);
  doomed_.clear();
  conflict = conflict_of(making.plan, taken);
  if (conflict) {
    if (conflict->taken.run) co_return;
    throw_bad_input(conflict->field, conflict->cidr.text(),
                    fmt::format("{} on {} belongs to {}", conflict->taken.cidr.text(),
                                client_.instance().host, conflict->taken.owner));
  }

  std::vector<Cidr> ranges = own_address_of(client_.instance().host);
  for (const auto& item : taken) ranges.push_back(item.cidr);
  std::vector<int> octets;
  if (making.plan.automatic) {
    octets = free_octets(ranges, all_octets, random_number(all_octets));
    octets.resize(
        std::min(octets.size(), std::max(making.waiting, fair_share(making.count, octets.size()))));
  }
  if (making.plan.automatic && octets.empty()) {
    throw NoFreeRange{client_.instance().host};
  }
  if (making.plan.automatic) making.count = octets.size();
  const auto prefixes = free_prefixes(found, stem_of(making.task), random_number(1000));
  co_await make_sets(making, change, prefixes, octets, ranges);

  if (!change.token) {
    // Before 9.0 nothing keeps two processes from choosing one range; but each writes first and
    // looks then, so at least one of them sees the other.
    const auto now = co_await survey(client_, nodes_);
    const auto others = taken_without(now, making.made());
    for (const auto& set : making.sets) {
      conflict = conflict_of(set.plan, others);
      if (conflict) co_return;
    }
  }
  making.applying = true;
  co_await apply_and_check(client_, nodes_, making.sets, making.lock, limit);
}

/// `octets`: of the ranges, for a plan that leaves them to us. `ranges`: the server's networks.
awaitable<void> Leases::make_sets(Making& making, const sdn::Change& change,
                                  const std::vector<std::string>& prefixes,
                                  const std::vector<int>& octets, const std::vector<Cidr>& ranges) {
  const auto key = making.plan.key();
  ChangeNote note{.token = change.token};
  for (std::size_t i = 0; i < prefixes.size() && making.sets.size() < making.count; ++i) {
    if (i == note.zones.size()) {
      const auto more = std::min(prefixes.size(), i + making.count - making.sets.size());
      for (std::size_t j = i; j < more; ++j) {
        note.zones.push_back(pve::ZoneId::parse(zone_name(prefixes[j])));
      }
      co_await tell(note);
    }
    const auto plan =
        making.plan.automatic ? with_range(making.plan, octets[making.sets.size()]) : making.plan;
    making.sets.push_back(set_of(plan, key, prefixes[i]));
    try {
      co_await create(client_, making.sets.back(), run_, ranges, change);
    } catch (const Error& error) {
      if (error.kind != Errc::already_exists) throw;
      making.sets.pop_back();  // someone else has the names since a moment ago
    }
  }
  if (making.sets.size() < making.count) {
    throw Error{Errc::unavailable,
                fmt::format("no names are left for networks on {}", client_.instance().host)}
        .with_hint("Remove networks of dead runs: inspect sandbox cleanup proxmox");
  }
}

awaitable<void> Leases::tell(ChangeNote note) {
  if (tell_) co_await tell_(std::move(note));
}

/// Removes what a change made that did not come to its end. What can't be removed now is doomed.
awaitable<void> Leases::undo(Making& making) {
  try {
    co_await with_cleanup(remove_made(making), sdn::unlock(client_, making.lock));
  } catch (const Error& error) {
    log::error("networks of a change that failed are still on {}: {}", client_.instance().host,
               error.what());
    for (auto& set : making.made()) doomed_.push_back(std::move(set));
  }
  co_await tell({});
}

awaitable<void> Leases::remove_made(Making& making) {
  if (making.applying && !making.sets.empty()) {
    // An apply gives the lock back with its request, whatever becomes of it.
    co_await sdn::unlock(client_, making.lock);
    co_await remove_and_apply(client_, making.made());
    co_return;
  }
  const auto limit = Deadline::after(change_limit);
  co_await remove(client_, making.made(), {making.lock.token(), limit});
  if (making.applying) co_await sdn::apply(client_, making.lock, limit);
}

// --- leasing -------------------------------------------------------------------------------------

awaitable<void> Leases::prepare(Plan plan, std::string task, std::size_t most) {
  if (plan.vnets.empty() || shelf_.count(plan.key()) > 0) co_return;
  const auto count = std::min(sets_to_make(plan, 0, 0), std::max<std::size_t>(most, 1));
  const auto conflict = co_await make(plan, count, 0, std::move(task));
  if (conflict) {
    log::info("{} on {} is in use by {}; samples will wait for it", conflict->taken.cidr.text(),
              client_.instance().host, conflict->taken.owner);
  }
}

awaitable<SharedSet> Leases::lease(Plan plan, std::string task) {
  if (plan.vnets.empty()) co_return nullptr;
  const auto key = plan.key();
  auto& line = lines_[key];
  if (!line) line = std::make_unique<Semaphore>(1);
  const auto permit = co_await line->acquire();
  const auto since = std::chrono::steady_clock::now();
  auto make_again = since;
  std::string_view waits_for = "the networks with fixed ranges";
  bool said = false;
  for (auto pause = 50ms;; pause = std::min(pause * 2, 1000ms)) {
    if (auto set = shelf_.take(key)) co_return set;
    const auto now = std::chrono::steady_clock::now();
    const auto count = sets_to_make(plan, shelf_.count(key), line->waiting() + 1);
    if (count > 0 && now >= make_again) {
      try {
        const auto conflict = co_await make(plan, count, line->waiting() + 1, task);
        if (!conflict) continue;
        co_await wait_for(*conflict, since);
        continue;
      } catch (const NoFreeRange&) {
        // Other samples of ours will give theirs back; without such, another server may do.
        if (shelf_.count(key) == 0) throw;
        make_again = now + look_for_ranges_again;
        waits_for = "networks, as no range is free,";
      }
    }
    if (!std::exchange(said, true)) {
      log::info("a sample waits for {} on {}", waits_for, client_.instance().host);
    }
    co_await sleep_for(pause);
  }
}

/// A while until it makes sense to try again.
awaitable<void> Leases::wait_for(Conflict conflict, SteadyTime since) {
  const auto waited = std::chrono::steady_clock::now() - since;
  const auto text = fmt::format("{} for {} on {}, which is in use by {} of run {}", conflict.field,
                                conflict.cidr.text(), client_.instance().host, conflict.taken.owner,
                                conflict.taken.run.value_or("?"));
  if (waited > patience_with_another_run) {
    throw Error{Errc::timeout, fmt::format("waited an hour for {}", text)}.with_hint(
        fmt::format("If that run is dead: inspect sandbox cleanup proxmox {}",
                    conflict.taken.run.value_or("")));
  }
  const auto pause = waited < say_again ? 5s : 20s;
  log::info("a sample waits for {}", text);
  co_await sleep_for(pause);
}

void Leases::give_back(const SharedSet& set) {
  if (set) shelf_.give_back(set);
}

awaitable<void> Leases::remove_free() {
  const auto permit = co_await one_change_.acquire();
  for (const auto& set : shelf_.take_out_free()) doomed_.push_back(remains_of(*set));
  if (doomed_.empty()) co_return;
  co_await remove_and_apply(client_, doomed_);
  doomed_.clear();
}

}  // namespace px::network
