#include "cli/doctor.hpp"

#include "cli/exit.hpp"
#include "cli/servers.hpp"
#include "cli/work.hpp"
#include "sandbox/doctor.hpp"
#include "sandbox/instances.hpp"
#include "support/error.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <unistd.h>

namespace px::cli {

namespace {

using sandbox::Finding;

std::string_view name_of(Finding::State state) {
  switch (state) {
    case Finding::State::fine:
      return "ok";
    case Finding::State::warning:
      return "warning";
    case Finding::State::bad:
      return "bad";
  }
  return "bad";
}

std::vector<Finding> examine(const pve::Instance& instance) {
  asio::io_context io{1};
  asio::thread_pool pool{1};
  std::vector<Finding> out;
  asio::co_spawn(io, sandbox::examine(pool, instance),
                 [&](std::exception_ptr error, std::vector<Finding> found) {
                   if (error) std::rethrow_exception(error);
                   out = std::move(found);
                 });
  io.run();
  return out;
}

void print_table(const std::vector<Finding>& findings) {
  const bool colour = ::isatty(STDOUT_FILENO) == 1;
  for (const auto& finding : findings) {
    const std::string_view start = !colour                                    ? ""
                                   : finding.state == Finding::State::fine    ? "\033[32m"
                                   : finding.state == Finding::State::warning ? "\033[33m"
                                                                              : "\033[31m";
    fmt::print("{}{:8}{} {:38} {}\n", start, name_of(finding.state), colour ? "\033[0m" : "",
               finding.what, finding.said);
    if (!finding.fix.empty()) fmt::print("{:8} -> {}\n", "", finding.fix);
  }
}

void print_json(const std::string& instance, const std::vector<Finding>& findings) {
  for (const auto& finding : findings) {
    const boost::json::object line{{"instance", instance},
                                   {"state", name_of(finding.state)},
                                   {"what", finding.what},
                                   {"said", finding.said},
                                   {"fix", finding.fix}};
    fmt::print("{}\n", boost::json::serialize(line));
  }
}

struct DoctorOptions {
  bool as_json = false;
  bool fix = false;
  bool yes = false;
};

void print(const pve::Instance& instance, const std::vector<Finding>& findings, bool as_json) {
  if (as_json) {
    print_json(instance.id, findings);
  } else {
    print_table(findings);
  }
  std::fflush(stdout);
}

/// Never yes without a person who said so, or --yes.
bool consents(const DoctorOptions& options) {
  if (options.yes) return true;
  if (::isatty(STDIN_FILENO) != 1) {
    fmt::print(stderr, "Nothing is changed: there is no terminal to ask on. Add --yes.\n");
    return false;
  }
  fmt::print(stderr, "Do it? [y/N] ");
  std::string answer;
  std::getline(std::cin, answer);
  const bool yes = answer == "y" || answer == "Y" || answer == "yes";
  if (!yes) fmt::print(stderr, "Nothing is changed.\n");
  return yes;
}

/// Returns whether anything was changed.
bool repair(const pve::Instance& instance, const std::vector<Finding>& found,
            const DoctorOptions& options) {
  bool changed = false;
  for (const auto& finding : found) {
    if (!finding.repair) continue;
    fmt::print(stderr, "\n{} on {}: {}.\nThis would be done: {}\n", finding.what, instance.name(),
               finding.said, finding.repair->change);
    for (const auto& line : finding.repair->consequences) fmt::print(stderr, "  - {}\n", line);
    if (!consents(options)) continue;
    work_on(instance, [&](pve::Client& client) { return finding.repair->carry_out(client); });
    fmt::print(stderr, "Done. Looking again:\n");
    changed = true;
  }
  if (!changed &&
      std::ranges::none_of(found, [](const auto& item) { return item.repair.has_value(); })) {
    fmt::print(stderr, "Nothing on {} has an automatic fix.\n", instance.name());
  }
  return changed;
}

int doctor(const DoctorOptions& options) {
  if (options.yes && !options.fix) {
    throw Error{Errc::bad_input, "--yes goes with --fix; without it doctor changes nothing"};
  }
  bool all_fine = true;
  for (const auto& instance : read_servers()) {
    auto found = examine(instance);
    print(instance, found, options.as_json);
    if (options.fix && repair(instance, found, options)) {
      found = examine(instance);
      print(instance, found, options.as_json);
    }
    for (const auto& finding : found) all_fine = all_fine && finding.state != Finding::State::bad;
  }
  if (!options.as_json)
    fmt::print(stderr, "{}\n", all_fine ? "This server can be used." : "Not yet usable.");
  return all_fine ? 0 : findings;
}

}  // namespace

void add_doctor_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "doctor", "Says whether the Proxmox VE servers of PROXMOX_* can be used, and how to fix it.");
  const auto options = std::make_shared<DoctorOptions>();
  command->add_flag("--json", options->as_json, "One JSON object a line");
  command->add_flag("--fix", options->fix,
                    "Where a fix can be made here: say what it changes, ask, do it, look again");
  command->add_flag("--yes", options->yes, "With --fix: do it without asking, for scripts");
  command->callback([options, &exit_code] { exit_code = doctor(*options); });
}

}  // namespace px::cli
