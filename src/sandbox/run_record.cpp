#include "sandbox/run_record.hpp"

#include "pve/pools.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <regex>

namespace px::sandbox {

using std::chrono::seconds;

namespace {

std::string pool_name(std::string_view run, std::string_view node) {
  return fmt::format("inspect-{}-{}", run, node);
}

/// How much a record's word weighs against another's of the same run: what may live must stay.
int weight_of(Life life) {
  switch (life) {
    case Life::alive:
      return 3;
    case Life::unknown:
      return 2;
    case Life::kept:
      return 1;
    case Life::dead:
      break;
  }
  return 0;
}

}  // namespace

std::string RunRecord::pool() const {
  return pool_name(run, node);
}

std::string RunRecord::comment() const {
  const auto note = change.text();
  return fmt::format("Proxmox Sandbox run {}: since {}, {} {}, {}owner {}", run, time_text(since),
                     kept ? "kept" : "renewed", time_text(renewed),
                     note.empty() ? "" : fmt::format("SDN {}, ", note), owner);
}

std::optional<RunRecord> RunRecord::of(std::string_view pool, std::string_view comment) {
  static const std::regex form{
      "Proxmox Sandbox run ([0-9a-f]{8}): since (\\S+), (kept|renewed) (\\S+), (?:SDN "
      "([-0-9A-Za-z ]+), )?owner (.*)"};
  std::cmatch parts;
  if (!std::regex_match(comment.begin(), comment.end(), parts, form)) return std::nullopt;
  const auto since = parse_time(parts[2]);
  const auto renewed = parse_time(parts[4]);
  const auto prefix = pool_name(parts[1].str(), "");
  if (!since || !renewed || !pool.starts_with(prefix)) return std::nullopt;
  return RunRecord{.run = parts[1],
                   .node = std::string{pool.substr(prefix.size())},
                   .owner = parts[6],
                   .since = *since,
                   .renewed = *renewed,
                   .kept = parts[3] == "kept",
                   .change = network::ChangeNote::of(parts[5].str())};
}

Life RunRecord::life(std::chrono::sys_seconds now) const {
  if (renewed > now + record_patience) return Life::unknown;
  if (renewed > now - record_patience) return Life::alive;
  return kept ? Life::kept : Life::dead;
}

awaitable<std::vector<FoundRecord>> find_records(pve::Client& client) {
  const auto pools = co_await pve::pools::list(client);
  const auto now = time_of(client);
  std::vector<FoundRecord> out;
  for (const auto& pool : pools) {
    auto record = RunRecord::of(pool.id, pool.comment);
    if (!record) continue;
    const auto life = record->life(now);
    const auto age = std::max(seconds{0}, now - record->since);
    // Who looks at a whole cluster looks at what is on its nodes, too.
    const bool is_here = client.instance().any_node() || record->node == client.instance().node;
    out.push_back({*std::move(record), life, age, is_here});
  }
  co_return out;
}

std::string text_of(const FoundRecord& found) {
  return fmt::format("record of run {} (pool {})", found.record.run, found.record.pool());
}

LifeOf with_records(LifeOf here, const std::vector<FoundRecord>& records) {
  std::map<std::string, RunLife> seen;
  for (const auto& found : records) {
    const RunLife life{found.life, found.age};
    const auto [it, is_new] = seen.try_emplace(found.record.run, life);
    if (!is_new && weight_of(found.life) > weight_of(it->second.life)) it->second = life;
  }
  return [here = std::move(here), seen = std::move(seen)](const std::string& run) {
    const auto known = here(run);
    const auto it = seen.find(run);
    return known.life != Life::unknown || it == seen.end() ? known : it->second;
  };
}

std::chrono::sys_seconds time_of(const pve::Client& client) {
  return Mark::now() + client.clock_offset().value_or(seconds{0});
}

}  // namespace px::sandbox
