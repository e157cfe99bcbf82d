#pragma once
#include <CLI/CLI.hpp>

namespace px::cli {

/// `proxmox-sandbox image`: files that VMs are made of. `inspect` needs no server.
void add_image_command(CLI::App& app, int& exit_code);

}  // namespace px::cli
