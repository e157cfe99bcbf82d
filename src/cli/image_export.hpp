#pragma once
#include <CLI/CLI.hpp>

namespace px::cli {

/// `proxmox-sandbox image export`: a VM of a node on this machine as an OVA.
void add_export_command(CLI::App& image, int& exit_code);

}  // namespace px::cli
