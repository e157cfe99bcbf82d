#pragma once
#include <CLI/CLI.hpp>

namespace px::cli {

/// `proxmox-sandbox node`: the local node, in the foreground or the background.
void add_node_command(CLI::App& app, int& exit_code);

}  // namespace px::cli
