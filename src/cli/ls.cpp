#include "cli/ls.hpp"

#include "cli/ls_text.hpp"
#include "cli/servers.hpp"
#include "sandbox/marks.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <memory>

namespace px::cli {

namespace {

awaitable<Stock> take_stock(pve::Client& client) {
  const auto node = pve::NodeName::parse(client.instance().node);
  Stock out;
  out.belongings = co_await sandbox::find_belongings(client, node);
  out.images = co_await image::take_inventory(client, node);
  co_return out;
}

int list(bool as_json) {
  const auto all = look_at_all<Stock>(&take_stock);
  const auto now = sandbox::Mark::now();
  for (const auto& looked : all.servers) {
    if (!looked.inventory) continue;
    if (as_json) {
      fmt::print("{}", stock_lines(looked.server, *looked.inventory, all.life_of, now));
      continue;
    }
    const auto table = stock_table(*looked.inventory, all.life_of, now);
    const auto where = fmt::format("node {} of {}", looked.server.node, looked.server.host);
    if (table.empty()) {
      fmt::print(stderr, "There is nothing of ours on {}.\n", where);
      continue;
    }
    if (all.servers.size() > 1) fmt::print("{}:\n", where);
    fmt::print("{}", table);
    std::fflush(stdout);
  }
  return all.exit_code;
}

}  // namespace

void add_ls_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "ls", "What is ours on the servers of PROXMOX_*: VMs, networks, files, templates.");
  const auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "One JSON object a line, for each thing");
  command->callback([as_json, &exit_code] { exit_code = list(*as_json); });
}

}  // namespace px::cli
