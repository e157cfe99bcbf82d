#pragma once
#include <CLI/CLI.hpp>

namespace px::cli {

/// The parts of `proxmox-sandbox image` that look at servers: ls, bake, rm, prune.
void add_server_commands(CLI::App& image, int& exit_code);

}  // namespace px::cli
