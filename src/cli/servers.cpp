#include "cli/servers.hpp"

#include "cli/exit.hpp"
#include "sandbox/server.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace px::cli {

sandbox::LifeOf life_by(const std::vector<sandbox::FoundRecord>& records) {
  const auto here = [](const std::string& run) {
    return sandbox::life_of(run, sandbox::process_environment());
  };
  return sandbox::with_records(here, records);
}

std::vector<pve::Instance> read_servers(Nodes wanted) {
  const auto instances = sandbox::read_instances(sandbox::process_environment());
  if (wanted == Nodes::as_named) return instances;
  std::vector<std::vector<pve::NodeName>> nodes(instances.size());
  work_on_all(instances, [&](pve::Client& client, std::size_t index) -> awaitable<void> {
    if (client.instance().any_node()) nodes[index] = co_await sandbox::find_nodes(client);
  });
  std::vector<pve::Instance> out;
  for (std::size_t i = 0; i < instances.size(); ++i) {
    out.push_back(instances[i]);
    for (const auto& node : nodes[i]) {
      if (node != nodes[i].front()) {
        if (wanted == Nodes::first) break;
        out.push_back(instances[i]);
      }
      out.back().node = node.text();
    }
  }
  return out;
}

void report(const pve::Instance& server, const Error& error, int& exit_code) {
  fmt::print(stderr, "{}: {}\n", server.name(), error.what());
  if (exit_code == 0) exit_code = exit_code_of(error);
}

}  // namespace px::cli
