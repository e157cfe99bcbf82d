#include "cli/net.hpp"

#include "cli/exit.hpp"
#include "cli/net_text.hpp"
#include "cli/servers.hpp"
#include "sandbox/marks.hpp"
#include "sandbox/networks.hpp"
#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <vector>

namespace px::cli {

namespace {

using network::Inventory;

using AllNetworks = AllServers<Inventory>;

AllNetworks look_at_networks() {
  return look_at_all<Inventory>([](pve::Client& client) { return network::take_inventory(client); },
                                Nodes::first);
}

/// On stdout when there are several, so that it stays above its table.
void print_heading(const AllNetworks& all, const Looked<Inventory>& looked) {
  if (all.servers.size() > 1) fmt::print("{}:\n", looked.server.name());
}

// --- ls ------------------------------------------------------------------------------------------

int list_networks(bool as_json) {
  const auto all = look_at_networks();
  for (const auto& looked : all.servers) {
    if (!looked.inventory) continue;
    const auto& inventory = *looked.inventory;
    if (as_json) {
      fmt::print("{}", network_lines(looked.server.host, inventory, all.life_of));
      continue;
    }
    print_heading(all, looked);
    fmt::print("{}", network_tables(inventory, all.life_of));
    if (inventory.zones.empty()) {
      fmt::print(stderr, "{} has no {}.\n", looked.server.name(),
                 inventory.has_sdn ? "networks of the SDN" : "SDN");
    }
    if (!inventory.unseen.empty()) {
      fmt::print(stderr, "VMs may be unseen, so nothing is called free: {}.\n",
                 fmt::join(inventory.unseen, ", "));
    }
  }
  return all.exit_code;
}

// --- check ---------------------------------------------------------------------------------------

int check(bool as_json) {
  const auto all = look_at_networks();
  bool any = false;
  for (const auto& looked : all.servers) {
    if (!looked.inventory) continue;
    const auto problems = sandbox::problems_of(*looked.inventory, all.life_of);
    any = any || !problems.empty();
    if (as_json) {
      fmt::print("{}", problem_lines(looked.server.host, problems));
      continue;
    }
    print_heading(all, looked);
    fmt::print("{}", problem_text(problems));
    if (problems.empty()) {
      fmt::print(stderr, "Nothing is wrong with the networks of {}.\n", looked.server.name());
    }
  }
  if (all.exit_code != 0) return all.exit_code;
  return any ? findings : 0;
}

// --- rm ------------------------------------------------------------------------------------------

struct RemoveOptions {
  sandbox::NetworkSelection selection;
  bool yes = false;
};

void check_options(const RemoveOptions& options) {
  const auto& selection = options.selection;
  const int given = (selection.run.empty() ? 0 : 1) + (selection.dead ? 1 : 0) +
                    (selection.names.empty() ? 0 : 1);
  if (given != 1) {
    throw Error{Errc::bad_input,
                "net rm takes one of: --run ID, --dead, or names of zones or VNets"};
  }
  if (!selection.run.empty()) sandbox::RunId::parse(selection.run);
}

/// Changes that an apply sweeps along.
std::vector<std::string> others_changes(const Inventory& inventory, const sandbox::Choice& choice) {
  std::vector<std::string> out;
  for (const auto& zone : inventory.zones) {
    const bool chosen = std::ranges::any_of(choice.remove, [&](const auto& candidate) {
      return candidate.networks.zone == zone.zone.id;
    });
    if (chosen) continue;
    for (auto& change : network::pending_of(zone)) out.push_back(std::move(change));
  }
  return out;
}

/// Prints what is left and returns whether anything is.
bool remove_from(const pve::Instance& server, const sandbox::Choice& choice) {
  std::vector<std::string> left;
  work_on(server, [&](pve::Client& client) -> awaitable<void> {
    left = co_await sandbox::remove_chosen(client, choice);
  });
  const auto chosen = choice.remove.size() + choice.groups.size();
  fmt::print(stderr, "{}: removed {} of {}.\n", server.name(), chosen - left.size(), chosen);
  for (const auto& line : left) fmt::print(stderr, "left: {}\n", line);
  return !left.empty();
}

int remove_networks(const RemoveOptions& options) {
  check_options(options);
  const auto all = look_at_networks();
  std::vector<sandbox::Choice> choices;
  for (const auto& looked : all.servers) {
    choices.push_back(looked.inventory ? sandbox::choose_networks(*looked.inventory,
                                                                  options.selection, all.life_of)
                                       : sandbox::Choice{});
  }
  if (all.exit_code == 0) {
    check_names(choices, options.selection.names, "no zone and no VNet has it; see net ls");
  }

  bool something = false;
  bool left = false;
  int exit_code = all.exit_code;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const auto& looked = all.servers[i];
    const auto& choice = choices[i];
    left = left || !choice.keep.empty();
    const auto table = choice_table(choice);
    if (table.empty()) continue;
    print_heading(all, looked);
    fmt::print("{}", table);
    std::fflush(stdout);
    if (choice.remove.empty() && choice.groups.empty()) continue;
    something = true;
    const auto others = others_changes(*looked.inventory, choice);
    if (!choice.remove.empty() && !others.empty()) {
      fmt::print(stderr, "Changes of others on {} that are applied with it: {}.\n",
                 looked.server.name(), fmt::join(others, ", "));
    }
    if (!options.yes) continue;
    try {
      left = remove_from(looked.server, choice) || left;
    } catch (const Error& error) {
      if (error.kind == Errc::cancelled) throw;
      report(looked.server, error, exit_code);
    }
  }
  if (!something) fmt::print(stderr, "There is nothing to remove.\n");
  if (something && !options.yes) fmt::print(stderr, "Nothing is removed yet; add --yes.\n");
  if (exit_code != 0) return exit_code;
  return left ? findings : 0;
}

}  // namespace

void add_net_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("net", "The networks of the servers of PROXMOX_*.");
  command->require_subcommand(1);

  const auto as_json = std::make_shared<bool>(false);
  auto* ls = command->add_subcommand("ls", "Zones, VNets, subnets, addresses: whose, and in use?");
  ls->add_flag("--json", *as_json, "One JSON object a line, for each zone");
  ls->callback([as_json, &exit_code] { exit_code = list_networks(*as_json); });

  auto* checks = command->add_subcommand("check", "What is wrong with them, and how to fix it.");
  checks->add_flag("--json", *as_json, "One JSON object a line, for each problem");
  checks->callback([as_json, &exit_code] { exit_code = check(*as_json); });

  const auto options = std::make_shared<RemoveOptions>();
  auto* rm = command->add_subcommand(
      "rm", "Removes networks of ours that no VM uses. Without --yes it only says which.");
  rm->add_option("--run", options->selection.run, "Those of a run, alive or not");
  rm->add_flag("--dead", options->selection.dead, "Those of all runs whose process is gone");
  rm->add_option("names", options->selection.names,
                 "Zones, or VNets, which stand for their zones, or lost security groups");
  rm->add_flag("--yes", options->yes, "Do it");
  rm->callback([options, &exit_code] { exit_code = remove_networks(*options); });
}

}  // namespace px::cli
