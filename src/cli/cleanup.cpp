#include "cli/cleanup.hpp"

#include "cli/exit.hpp"
#include "cli/servers.hpp"
#include "cli/table.hpp"
#include "sandbox/cleanup.hpp"
#include "sandbox/marks.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <regex>

namespace px::cli {

namespace {

using sandbox::Belongings;
using sandbox::CleanupChoice;
using sandbox::CleanupSelection;

struct CleanupOptions {
  CleanupSelection selection{};
  std::string older{};
  bool yes = false;
};

/// "90s", "15m", "2h", "3d"
std::chrono::seconds parse_age(const std::string& text) {
  static const std::regex form{"([0-9]{1,6})([smhd])"};
  std::smatch parts;
  if (!std::regex_match(text, parts, form)) {
    throw_bad_input("--older", text, "a number and s, m, h or d: 90s, 15m, 2h, 3d");
  }
  const std::chrono::seconds number{std::stol(parts[1].str())};
  switch (*parts[2].first) {
    case 's':
      return number;
    case 'm':
      return number * 60;
    case 'h':
      return number * 3600;
    default:
      return number * 86'400;
  }
}

CleanupSelection selection_of(const CleanupOptions& options) {
  auto selection = options.selection;
  if (!options.older.empty()) selection.older = parse_age(options.older);
  const int given = (selection.id.empty() ? 0 : 1) + (selection.dead ? 1 : 0) +
                    (selection.older ? 1 : 0) + (selection.everything ? 1 : 0);
  if (given != 1) {
    throw Error{Errc::bad_input,
                "cleanup takes one of: --run ID, --dead, --older AGE, --all; see what there is: "
                "proxmox-sandbox ls"};
  }
  if (!selection.id.empty()) sandbox::RunId::parse(selection.id);
  return selection;
}

std::string choice_text(const CleanupChoice& choice) {
  Table table{{"WHAT", "SAMPLE", "", "WHY"}};
  for (const auto& [own, why] : choice.vms) {
    table.add(
        {text_of(own), own.sample.empty() ? own.task : own.task + " " + own.sample, "remove", why});
  }
  for (const auto& [own, why] : choice.files) table.add({sandbox::text_of(own), "", "remove", why});
  for (const auto& [own, why] : choice.networks)
    table.add({sandbox::text_of(own), "", "remove", why});
  for (const auto& [own, why] : choice.records)
    table.add({sandbox::text_of(own), "", "remove", why});
  for (const auto& [run, why] : choice.kept) table.add({run, "", "keep", why});
  return table.empty() ? "" : table.text();
}

/// Removes what was chosen on all servers side by side; says what is left.
int remove_everywhere(const std::vector<pve::Instance>& servers,
                      const std::vector<CleanupChoice>& choices) {
  std::vector<sandbox::CleanupReport> reports(servers.size());
  const auto failures =
      work_on_all(servers, [&](pve::Client& client, std::size_t index) -> awaitable<void> {
        if (choices[index].empty()) co_return;
        reports[index] =
            co_await sandbox::clean_up(client, choices[index], [&](const std::string& text) {
              fmt::print(stderr, "{}: removed {}\n", client.instance().name(), text);
            });
      });
  int exit_code = 0;
  for (std::size_t i = 0; i < servers.size(); ++i) {
    if (failures[i]) report(servers[i], *failures[i], exit_code);
    for (const auto& line : reports[i].left) {
      fmt::print(stderr, "{}: left: {}\n", servers[i].name(), line);
      if (exit_code == 0) exit_code = failed;
    }
  }
  return exit_code;
}

/// Nothing of them is left anywhere, so their life signs can go.
void forget_removed(const std::vector<CleanupChoice>& choices) {
  const auto forget = [](const std::string& run) {
    if (!run.empty()) sandbox::forget_ended(run, sandbox::process_environment());
  };
  for (const auto& choice : choices) {
    for (const auto& chosen : choice.vms) forget(chosen.what.run);
    for (const auto& chosen : choice.files) forget(chosen.what.run);
    for (const auto& chosen : choice.networks) forget(chosen.what.run);
    for (const auto& chosen : choice.records) forget(chosen.what.record.run);
  }
}

int clean_up_servers(const CleanupOptions& options) {
  const auto selection = selection_of(options);
  const auto look = [](pve::Client& client) -> awaitable<Belongings> {
    co_return co_await sandbox::find_belongings(client, co_await sandbox::find_nodes(client));
  };
  const auto all = look_at_all<Belongings>(look, Nodes::as_named);
  std::vector<pve::Instance> servers;
  std::vector<CleanupChoice> choices;
  bool something = false;
  for (const auto& looked : all.servers) {
    if (!looked.inventory) continue;
    servers.push_back(looked.server);
    const auto& choice = choices.emplace_back(sandbox::choose(
        *looked.inventory, looked.records, selection, all.life_of, sandbox::Mark::now()));
    something = something || !choice.empty();
    const auto table = choice_text(choice);
    if (table.empty()) continue;
    if (all.servers.size() > 1) fmt::print("{}:\n", looked.server.name());
    fmt::print("{}", table);
    std::fflush(stdout);
  }
  if (!something) fmt::print(stderr, "There is nothing to remove.\n");
  if (!something || !options.yes) {
    if (something) fmt::print(stderr, "Nothing is removed yet; add --yes.\n");
    return all.exit_code;
  }
  const int exit_code = remove_everywhere(servers, choices);
  if (exit_code == 0 && all.exit_code == 0) forget_removed(choices);
  return all.exit_code != 0 ? all.exit_code : exit_code;
}

}  // namespace

void add_cleanup_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "cleanup",
      "Removes VMs, networks and files that runs left. Without --yes it only says which and why.");
  const auto options = std::make_shared<CleanupOptions>();
  command->add_option("--run", options->selection.id, "Those of a run, alive or not");
  command->add_flag("--dead", options->selection.dead,
                    "Those of all runs whose process is gone, on whatever machine");
  command->add_option("--older", options->older,
                      "Those of runs that began so long ago (90s, 15m, 2h, 3d), unless they live");
  command->add_flag("--all", options->selection.everything,
                    "All that is ours, of living runs and of the existing provider, too");
  command->add_flag("--yes", options->yes, "Do it");
  command->callback([options, &exit_code] { exit_code = clean_up_servers(*options); });
}

}  // namespace px::cli
