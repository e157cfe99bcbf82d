#include "cli/ls_text.hpp"

#include "cli/table.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace px::cli {

namespace {

using sandbox::LifeOf;
using sandbox::RunLife;
using std::chrono::seconds;

/// One thing of ours.
struct Entry {
  std::string kind;  ///< vm, file, network, template, medium
  std::string id;
  std::string name{};
  std::string run{};  ///< empty: of no run, it stays
  RunLife life{};
  std::optional<seconds> age{};
  std::string state{};
  std::int64_t memory = 0;  ///< bytes
  std::int64_t size = 0;    ///< bytes
  std::string owner{};
  std::string task{};
  std::string sample{};
};

Entry entry_of(const sandbox::OwnVm& own, std::chrono::sys_seconds now) {
  Entry out{.kind = "vm", .id = own.vm.vmid.text(), .name = own.name, .run = own.run};
  if (own.since) out.age = std::max(seconds{0}, now - *own.since);
  out.state = own.status;
  out.memory = own.memory;
  out.owner = own.owner;
  out.task = own.task;
  out.sample = own.sample;
  return out;
}

Entry entry_of(const network::Remains& own) {
  std::vector<std::string> names;
  for (const auto& vnet : own.vnets) names.push_back(vnet.text());
  return {.kind = "network",
          .id = own.zone.text(),
          .name = fmt::format("{}", fmt::join(names, " ")),
          .run = own.run};
}

Entry entry_of(const image::MadeTemplate& made) {
  return {.kind = "template", .id = made.vm.vmid.text(), .name = made.name, .state = made.source};
}

/// What is half made is among the VMs.
std::vector<Entry> entries_of(const Stock& stock, const LifeOf& life_of,
                              std::chrono::sys_seconds now) {
  std::vector<Entry> out;
  for (const auto& own : stock.belongings.vms) out.push_back(entry_of(own, now));
  for (const auto& own : stock.belongings.networks) out.push_back(entry_of(own));
  for (const auto& own : stock.belongings.files) {
    out.push_back({.kind = "file", .id = own.volume.text(), .run = own.run, .size = own.size});
  }
  for (const auto& made : stock.images.templates) {
    if (made.is_ready) out.push_back(entry_of(made));
  }
  for (const auto& medium : stock.images.media) {
    out.push_back({.kind = "medium", .id = medium.volume.text(), .size = medium.size});
  }
  for (auto& entry : out) {
    if (entry.run.empty()) continue;
    entry.life = life_of(entry.run);
    if (!entry.age) entry.age = entry.life.age;
  }
  return out;
}

std::string mib_text(std::int64_t bytes) {
  return bytes == 0 ? "" : fmt::format("{} MiB", std::max<std::int64_t>(bytes >> 20, 1));
}

std::string life_text(const Entry& entry) {
  return entry.run.empty() ? "" : std::string{name_of(entry.life.life)};
}

std::string sample_text(const Entry& entry) {
  if (entry.task.empty()) return entry.sample;
  return entry.sample.empty() ? entry.task : fmt::format("{} {}", entry.task, entry.sample);
}

}  // namespace

std::string stock_table(const Stock& stock, const LifeOf& life_of, std::chrono::sys_seconds now) {
  Table table{{"KIND", "ID", "NAME", "RUN", "ITS PROCESS", "AGE", "STATE", "SIZE", "TASK, SAMPLE",
               "OWNER"}};
  for (const auto& entry : entries_of(stock, life_of, now)) {
    table.add({entry.kind, entry.id, entry.name, entry.run, life_text(entry),
               entry.age ? age_text(static_cast<std::size_t>(entry.age->count())) : "", entry.state,
               mib_text(entry.memory + entry.size), sample_text(entry), entry.owner});
  }
  return table.empty() ? "" : table.text();
}

std::string stock_lines(const pve::Instance& server, const Stock& stock, const LifeOf& life_of,
                        std::chrono::sys_seconds now) {
  namespace bj = boost::json;
  std::string out;
  for (const auto& entry : entries_of(stock, life_of, now)) {
    const auto bytes = [](std::int64_t number) {
      return number == 0 ? bj::value(nullptr) : bj::value(number);
    };
    out += bj::serialize(
        bj::object{{"instance", server.id},
                   {"host", server.host},
                   {"node", server.node},
                   {"kind", entry.kind},
                   {"id", entry.id},
                   {"name", text_or_null(entry.name)},
                   {"run", text_or_null(entry.run)},
                   {"run_life", text_or_null(life_text(entry))},
                   {"age_seconds", entry.age ? bj::value(entry.age->count()) : bj::value(nullptr)},
                   {"state", text_or_null(entry.state)},
                   {"memory_bytes", bytes(entry.memory)},
                   {"size_bytes", bytes(entry.size)},
                   {"task", text_or_null(entry.task)},
                   {"sample", text_or_null(entry.sample)},
                   {"owner", text_or_null(entry.owner)}});
    out += '\n';
  }
  return out;
}

}  // namespace px::cli
