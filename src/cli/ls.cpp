#include "cli/ls.hpp"

#include "cli/ls_text.hpp"
#include "cli/servers.hpp"
#include "pve/nodes.hpp"
#include "sandbox/marks.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <memory>

namespace px::cli {

namespace {

awaitable<Stock> take_stock(pve::Client& client) {
  const auto node = pve::NodeName::parse(client.instance().node);
  Stock out;
  out.belongings = co_await sandbox::find_belongings(client, {node});
  out.images = co_await image::take_inventory(client, node);
  try {
    out.node = co_await pve::nodes::status(client, node);
  } catch (const Error& error) {
    if (error.kind != Errc::forbidden) throw;
  }
  co_return out;
}

void print_text(const pve::Instance& server, const Stock& stock, const sandbox::LifeOf& life_of) {
  const auto table = stock_table(stock, life_of, sandbox::Mark::now());
  fmt::print("{}\n{}", server_text(server, stock), table.empty() ? "nothing of ours\n" : table);
  std::fflush(stdout);
}

int list(bool as_json) {
  auto all = look_at_all<Stock>(&take_stock);
  const auto set_aside = sandbox::hosts_set_aside(sandbox::process_environment());
  for (auto& looked : all.servers) {
    const auto tell = as_json ? &set_aside_lines : &set_aside_text;
    const auto aside = tell(looked.server, set_aside, sandbox::Mark::now());
    if (!looked.inventory) {
      if (as_json) fmt::print("{}", failure_line(looked.server, looked.failure->what()));
      if (!as_json && !aside.empty()) fmt::print("{}\n", looked.server.name());
      fmt::print("{}", aside);
      continue;
    }
    looked.inventory->records = looked.records;
    if (as_json) {
      fmt::print("{}",
                 stock_lines(looked.server, *looked.inventory, all.life_of, sandbox::Mark::now()));
    } else {
      print_text(looked.server, *looked.inventory, all.life_of);
    }
    fmt::print("{}", aside);
  }
  return all.exit_code;
}

}  // namespace

void add_ls_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "ls",
      "The servers of PROXMOX_*, and what is ours there: runs, VMs, networks, files, images.");
  const auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "One JSON object a line, for each server, run and thing");
  command->callback([as_json, &exit_code] { exit_code = list(*as_json); });
}

}  // namespace px::cli
