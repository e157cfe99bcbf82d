#include "cli/servers.hpp"

#include "cli/exit.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace px::cli {

sandbox::LifeOf life_by(const std::vector<sandbox::FoundRecord>& records) {
  const auto here = [](const std::string& run) {
    return sandbox::life_of(run, sandbox::process_environment());
  };
  return sandbox::with_records(here, records);
}

void report(const pve::Instance& server, const Error& error, int& exit_code) {
  fmt::print(stderr, "{}: {}\n", server.host, error.what());
  if (exit_code == 0) exit_code = exit_code_of(error);
}

}  // namespace px::cli
