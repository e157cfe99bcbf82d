#include "sandbox/cleanup_choice.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace px::sandbox {

namespace {

using std::chrono::seconds;

/// What is known of a run from all of its things.
struct KnownRun {
  Life life = Life::unknown;
  std::optional<seconds> age{};  ///< since its first sign
};

class Chooser {
 public:
  Chooser(const Belongings& found, const CleanupSelection& selection, const LifeOf& life_of,
          std::chrono::sys_seconds now)
      : selection_{selection}, life_of_{life_of} {
    for (const auto& own : found.vms) {
      auto& run = known(own.run);
      if (own.since) run.age = std::max(run.age.value_or(seconds{0}), now - *own.since);
      with_things_.insert(own.run);
    }
    for (const auto& own : found.files) with_things_.insert(own.run);
    for (const auto& own : found.networks) with_things_.insert(own.run);
  }

  /// Why a run's things are to go; nothing when they stay.
  std::optional<std::string> reason_for(const std::string& run) {
    const auto known_run = known(run);
    if (selection_.everything) return said_of(run, known_run);
    if (run.empty()) return std::nullopt;
    if (!selection_.id.empty()) {
      if (run != selection_.id) return std::nullopt;
      return said_of(run, known_run);
    }
    const bool meant = selection_.dead ? has_ended(known_run.life)
                                       : known_run.age && *known_run.age >= *selection_.older;
    if (!meant) return std::nullopt;
    if (known_run.life == Life::alive) return keep(run, "it lives");
    if (known_run.life == Life::kept) {
      return keep(run, fmt::format("it was kept on purpose; --run {} removes it", run));
    }
    return said_of(run, known_run);
  }

  std::optional<std::string> reason_for_record_of(const std::string& run) {
    const auto known_run = known(run);
    if (selection_.dead && has_ended(known_run.life) && !with_things_.contains(run)) {
      return fmt::format("run {} has ended and has nothing here", run);
    }
    return reason_for(run);
  }

  std::vector<Chosen<std::string>> kept() const {
    std::vector<Chosen<std::string>> out;
    for (const auto& [run, why] : kept_) out.push_back({"run " + run, why});
    return out;
  }

 private:
  KnownRun& known(const std::string& run) {
    const auto [it, is_new] = runs_.try_emplace(run);
    if (is_new && !run.empty()) {
      const auto life = life_of_(run);
      it->second = {life.life, life.age};
    }
    return it->second;
  }

  std::nullopt_t keep(const std::string& run, std::string why) {
    kept_.emplace(run, std::move(why));
    return std::nullopt;
  }

  static std::string said_of(const std::string& run, const KnownRun& known_run) {
    if (run.empty()) return "no mark of a run";
    switch (known_run.life) {
      case Life::alive:
        return fmt::format("run {}, WHICH LIVES", run);
      case Life::dead:
        return fmt::format("run {} is dead", run);
      case Life::kept:
        return fmt::format("run {} has ended and was kept", run);
      case Life::unknown:
        break;
    }
    return fmt::format("run {}, of which nobody knows whether it lives", run);
  }

  const CleanupSelection& selection_;
  const LifeOf& life_of_;
  std::map<std::string, KnownRun> runs_;
  std::set<std::string> with_things_;
  std::map<std::string, std::string> kept_;
};

/// The run that was making a zone when it had no VNet yet.
std::string run_of(const network::Remains& networks, const std::vector<FoundRecord>& records) {
  if (!networks.run.empty() || !networks.vnets.empty()) return networks.run;
  for (const auto& own : records) {
    const auto& zones = own.record.change.zones;
    if (std::ranges::find(zones, networks.zone) != zones.end()) return own.record.run;
  }
  return {};
}

}  // namespace

CleanupChoice choose(const Belongings& found, const std::vector<FoundRecord>& records,
                     const CleanupSelection& selection, const LifeOf& life_of,
                     std::chrono::sys_seconds now) {
  Chooser chooser{found, selection, life_of, now};
  CleanupChoice out;
  for (const auto& own : found.vms) {
    if (!selection.id.empty() && own.vm.vmid.text() == selection.id) {
      out.vms.push_back({own, "it was named"});
    } else if (auto why = chooser.reason_for(own.run)) {
      out.vms.push_back({own, *std::move(why)});
    }
  }
  for (const auto& own : found.files) {
    if (auto why = chooser.reason_for(own.run)) out.files.push_back({own, *std::move(why)});
  }
  for (const auto& own : found.networks) {
    if (auto why = chooser.reason_for(run_of(own, records))) {
      out.networks.push_back({own, *std::move(why)});
    }
  }
  for (const auto& own : records) {
    if (!own.is_here) continue;
    if (auto why = chooser.reason_for_record_of(own.record.run)) {
      if (const auto& token = own.record.change.token) out.lock_tokens.push_back(*token);
      out.records.push_back({own, *std::move(why)});
    }
  }
  out.kept = chooser.kept();
  return out;
}

std::string text_of(const OwnVm& own) {
  return fmt::format("VM {} ({}) on node {}", own.vm.vmid, own.name, own.vm.node);
}

std::string text_of(const OwnFile& own) {
  return fmt::format("file {}", own.volume.text());
}

std::string text_of(const network::Remains& networks) {
  return fmt::format("zone {}", networks.zone);
}

}  // namespace px::sandbox
