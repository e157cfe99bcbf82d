#pragma once
#include <CLI/CLI.hpp>

namespace px::cli {

/// `proxmox-sandbox cleanup`.
void add_cleanup_command(CLI::App& app, int& exit_code);

}  // namespace px::cli
