#pragma once
#include <CLI/CLI.hpp>

namespace px::cli {

/// `proxmox-sandbox doctor`: whether the configured servers can be used, and what to do where not.
void add_doctor_command(CLI::App& app, int& exit_code);

}  // namespace px::cli
