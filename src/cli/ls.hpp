#pragma once
#include <CLI/CLI.hpp>

namespace px::cli {

/// `proxmox-sandbox ls`.
void add_ls_command(CLI::App& app, int& exit_code);

}  // namespace px::cli
