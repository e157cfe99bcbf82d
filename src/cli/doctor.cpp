#include "cli/doctor.hpp"

#include "cli/exit.hpp"
#include "sandbox/doctor.hpp"
#include "sandbox/instances.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>

#include <memory>
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

int doctor(bool as_json) {
  bool all_fine = true;
  for (const auto& instance : sandbox::read_instances(sandbox::process_environment())) {
    const auto found = examine(instance);
    if (as_json) {
      print_json(instance.id, found);
    } else {
      print_table(found);
    }
    for (const auto& finding : found) all_fine = all_fine && finding.state != Finding::State::bad;
  }
  if (!as_json)
    fmt::print(stderr, "{}\n", all_fine ? "This server can be used." : "Not yet usable.");
  return all_fine ? 0 : findings;
}

}  // namespace

void add_doctor_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "doctor", "Says whether the Proxmox VE servers of PROXMOX_* can be used, and how to fix it.");
  const auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "One JSON object a line");
  command->callback([as_json, &exit_code] { exit_code = doctor(*as_json); });
}

}  // namespace px::cli
