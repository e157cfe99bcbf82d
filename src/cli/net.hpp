#pragma once
#include <CLI/CLI.hpp>

namespace px::cli {

/// `proxmox-sandbox net`: the networks of the configured servers: whose they are, what is wrong
/// with them, and removing those that nobody uses.
void add_net_command(CLI::App& app, int& exit_code);

}  // namespace px::cli
