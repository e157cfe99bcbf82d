#include "cli/ls_text.hpp"

#include "cli/table.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace px::cli {

namespace {

namespace bj = boost::json;
using sandbox::LifeOf;
using sandbox::RunLife;
using std::chrono::seconds;

/// A run, by all that says something of it.
struct SeenRun {
  std::string owner{};
  std::optional<seconds> age{};
  RunLife life{};
  std::size_t vms = 0;
  std::size_t networks = 0;
  std::size_t files = 0;
};
using SeenRuns = std::map<std::string, SeenRun>;

/// One thing of ours.
struct Entry {
  std::string kind;  ///< run, vm, file, network, template, medium
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

SeenRuns runs_of(const Stock& stock, const LifeOf& life_of, std::chrono::sys_seconds now) {
  SeenRuns out;
  for (const auto& own : stock.belongings.vms) {
    auto& run = out[own.run];
    ++run.vms;
    run.owner = own.owner;
    if (own.since) run.age = std::max(run.age.value_or(seconds{0}), now - *own.since);
  }
  for (const auto& own : stock.belongings.networks) ++out[own.run].networks;
  for (const auto& own : stock.belongings.files) ++out[own.run].files;
  for (const auto& found : stock.records) {
    const auto& id = found.record.run;
    if (!found.is_here && !out.contains(id)) continue;  // it has nothing on this node
    out[id].owner = found.record.owner;
    out[id].age = found.age;
  }
  out.erase("");
  for (auto& [id, run] : out) {
    run.life = life_of(id);
    if (run.life.age) run.age = run.life.age;
  }
  return out;
}

std::string things_text(const SeenRun& run) {
  std::vector<std::string> parts;
  const auto add = [&](std::size_t count, std::string_view one) {
    if (count > 0) parts.push_back(fmt::format("{} {}{}", count, one, count == 1 ? "" : "s"));
  };
  add(run.vms, "VM");
  add(run.networks, "network");
  add(run.files, "file");
  return parts.empty() ? "nothing" : fmt::format("{}", fmt::join(parts, ", "));
}

/// What is half made is among the VMs.
std::vector<Entry> entries_of(const Stock& stock, const SeenRuns& runs,
                              std::chrono::sys_seconds now) {
  std::vector<Entry> out;
  for (const auto& [id, run] : runs) {
    out.push_back({.kind = "run", .id = id, .run = id, .state = things_text(run)});
  }
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
    const auto run = runs.find(entry.run);
    if (run == runs.end()) continue;
    entry.life = run->second.life;
    if (!entry.age) entry.age = run->second.age;
    if (entry.owner.empty()) entry.owner = run->second.owner;
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

bj::object object_of(const pve::Instance& server, std::string_view kind, std::string_view id) {
  return {{"instance", server.id},
          {"host", server.host},
          {"node", server.node},
          {"kind", kind},
          {"id", id}};
}

bj::object server_object(const pve::Instance& server, const Stock& stock) {
  const auto number = [&](auto pve::nodes::NodeStatus::* field) {
    return stock.node ? bj::value(*stock.node.*field) : bj::value(nullptr);
  };
  auto out = object_of(server, "server", server.node);
  out["state"] = "reachable";
  out["error"] = nullptr;
  out["cores"] = number(&pve::nodes::NodeStatus::cpus);
  out["memory_bytes"] = number(&pve::nodes::NodeStatus::memory_total);
  out["memory_free_bytes"] = number(&pve::nodes::NodeStatus::memory_free);
  return out;
}

double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

/// Of a server that is a cluster, and was not reached, no node is named.
bool is_about(const sandbox::SetAside& host, const pve::Instance& server) {
  return host.host == server.host &&
         (host.node.empty() || server.any_node() || host.node == server.node);
}

/// What runs say of this server, with what is left of the pause.
using EachSetAside =
    std::function<void(const std::string& run, const sandbox::SetAside& host, seconds left)>;
void visit_set_aside(const pve::Instance& server, const SetAsideBy& all,
                     std::chrono::sys_seconds now, const EachSetAside& visit) {
  for (const auto& [run, hosts] : all) {
    for (const auto& host : hosts) {
      if (is_about(host, server)) visit(run, host, std::max(seconds{0}, host.until - now));
    }
  }
}

}  // namespace

std::string server_text(const pve::Instance& server, const Stock& stock) {
  const auto where = fmt::format("node {} of {}", server.node, server.name());
  if (!stock.node) return where;
  return fmt::format("{}: {} cores, {:.1f} of {:.1f} GiB of memory free", where, stock.node->cpus,
                     gib(stock.node->memory_free), gib(stock.node->memory_total));
}

std::string set_aside_text(const pve::Instance& server, const SetAsideBy& all,
                           std::chrono::sys_seconds now) {
  std::string out;
  visit_set_aside(server, all, now, [&](const auto& run, const auto& host, seconds left) {
    out += fmt::format("set aside by run {} for {} s more: {}\n", run, left.count(), host.why);
  });
  return out;
}

std::string set_aside_lines(const pve::Instance& server, const SetAsideBy& all,
                            std::chrono::sys_seconds now) {
  std::string out;
  visit_set_aside(server, all, now, [&](const auto& run, const auto& host, seconds left) {
    auto line = object_of(server, "set_aside", host.node.empty() ? host.host : host.node);
    line["run"] = run;
    line["error"] = host.why;
    line["seconds_left"] = left.count();
    out += bj::serialize(line) + '\n';
  });
  return out;
}

std::string failure_line(const pve::Instance& server, const std::string& error) {
  auto out = object_of(server, "server", server.node);
  out["state"] = "error";
  out["error"] = error;
  for (const auto* key : {"cores", "memory_bytes", "memory_free_bytes"}) out[key] = nullptr;
  return bj::serialize(out) + '\n';
}

std::string stock_table(const Stock& stock, const LifeOf& life_of, std::chrono::sys_seconds now) {
  Table table{{"KIND", "ID", "NAME", "RUN", "ITS PROCESS", "AGE", "STATE", "SIZE", "TASK, SAMPLE",
               "OWNER"}};
  for (const auto& entry : entries_of(stock, runs_of(stock, life_of, now), now)) {
    table.add({entry.kind, entry.id, entry.name, entry.run, life_text(entry),
               entry.age ? age_text(static_cast<std::size_t>(entry.age->count())) : "", entry.state,
               mib_text(entry.memory + entry.size), sample_text(entry), entry.owner});
  }
  return table.empty() ? "" : table.text();
}

std::string stock_lines(const pve::Instance& server, const Stock& stock, const LifeOf& life_of,
                        std::chrono::sys_seconds now) {
  const auto runs = runs_of(stock, life_of, now);
  std::string out = bj::serialize(server_object(server, stock)) + '\n';
  for (const auto& entry : entries_of(stock, runs, now)) {
    const auto bytes = [](std::int64_t number) {
      return number == 0 ? bj::value(nullptr) : bj::value(number);
    };
    auto line = object_of(server, entry.kind, entry.id);
    line["name"] = text_or_null(entry.name);
    line["run"] = text_or_null(entry.run);
    line["run_life"] = text_or_null(life_text(entry));
    line["age_seconds"] = entry.age ? bj::value(entry.age->count()) : bj::value(nullptr);
    line["state"] = text_or_null(entry.state);
    line["memory_bytes"] = bytes(entry.memory);
    line["size_bytes"] = bytes(entry.size);
    line["task"] = text_or_null(entry.task);
    line["sample"] = text_or_null(entry.sample);
    line["owner"] = text_or_null(entry.owner);
    if (entry.kind == "run") {
      const auto& run = runs.at(entry.id);
      line["vms"] = run.vms;
      line["networks"] = run.networks;
      line["files"] = run.files;
    }
    out += bj::serialize(line);
    out += '\n';
  }
  return out;
}

}  // namespace px::cli
