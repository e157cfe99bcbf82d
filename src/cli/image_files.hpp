#pragma once
#include <CLI/CLI.hpp>

namespace px::cli {

/// The parts of `proxmox-sandbox image` that need no server: inspect, add, to-ova.
void add_file_commands(CLI::App& image, int& exit_code);

}  // namespace px::cli
