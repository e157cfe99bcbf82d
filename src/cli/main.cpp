// The command `proxmox-sandbox`. Data goes to stdout, talk to stderr.
#include "cli/cleanup.hpp"
#include "cli/doctor.hpp"
#include "cli/exit.hpp"
#include "cli/image.hpp"
#include "cli/ls.hpp"
#include "cli/net.hpp"
#include "cli/node.hpp"
#include "support/error.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

int main(int argc, char** argv) {
  CLI::App app{"Whole virtual machines as sandboxes for Inspect evaluations, on Proxmox VE."};
  app.set_version_flag("--version", PX_VERSION);
  app.require_subcommand(1);
  int exit_code = 0;
  px::cli::add_node_command(app, exit_code);
  px::cli::add_doctor_command(app, exit_code);
  px::cli::add_ls_command(app, exit_code);
  px::cli::add_cleanup_command(app, exit_code);
  px::cli::add_net_command(app, exit_code);
  px::cli::add_image_command(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : px::cli::wrong_usage;
  } catch (const px::Error& error) {
    fmt::print(stderr, "proxmox-sandbox: {}\n", error.what());
    return px::cli::exit_code_of(error);
  } catch (const std::exception& error) {
    fmt::print(stderr, "proxmox-sandbox: {}\n", error.what());
    return px::cli::failed;
  }
  return exit_code;
}
