#include "cli/image.hpp"

#include "cli/image_export.hpp"
#include "cli/image_files.hpp"
#include "cli/image_server.hpp"
#include "cli/image_text.hpp"
#include "image/recipe.hpp"
#include "support/error.hpp"

#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>

namespace px::cli {

namespace {

struct InspectOptions {
  std::string file;
  bool as_json = false;
  bool no_checksums = false;
};

/// A line on a terminal that counts up; nothing elsewhere.
class Counter {
 public:
  void operator()(std::uint64_t done, std::uint64_t total) {
    const auto percent = total == 0 ? 100 : done * 100 / total;
    if (!shown_ || percent == last_) return;
    last_ = percent;
    fmt::print(stderr, "\rreading: {} %", percent);
    if (done == total) fmt::print(stderr, "\r             \r");
    std::fflush(stderr);
  }

 private:
  bool shown_ = ::isatty(STDERR_FILENO) == 1;
  std::uint64_t last_ = UINT64_MAX;
};

/// By its name or, as an OVA is often named otherwise, by its first header.
bool is_appliance(const std::string& file) {
  if (boost::iends_with(file, ".ova") || boost::iends_with(file, ".ovf")) return true;
  constexpr std::uint64_t magic_at = 257;  // POSIX ustar
  return image::Window::of_file(file).read(magic_at, 5) == "ustar";
}

void warn(const std::vector<std::string>& warnings) {
  for (const auto& warning : warnings) fmt::print(stderr, "warning: {}\n", warning);
}

void inspect_appliance(const InspectOptions& options) {
  const auto appliance = image::read_ova(options.file);
  const auto vm = image::vm_of(appliance);
  std::optional<image::OvaSums> sums;
  if (!options.no_checksums) sums = image::check_ova(appliance, Counter{});
  if (options.as_json) {
    fmt::print("{}", appliance_line(appliance, vm, sums));
    return;
  }
  fmt::print("{}", appliance_text(appliance, vm, sums));
  std::fflush(stdout);
  warn(appliance.warnings);
  warn(vm.warnings);
}

void inspect_disk(const InspectOptions& options) {
  InspectedDisk disk{options.file, std::filesystem::file_size(options.file),
                     image::read_disk_header(std::filesystem::path{options.file}), std::nullopt};
  if (!options.no_checksums) disk.sha256 = image::file_sha256(options.file, Counter{});
  fmt::print("{}", options.as_json ? disk_line(disk) : disk_text(disk));
}

void inspect(const InspectOptions& options) {
  if (is_appliance(options.file)) {
    inspect_appliance(options);
  } else {
    inspect_disk(options);
  }
}

}  // namespace

void add_image_command(CLI::App& app, int& exit_code) {
  auto* image = app.add_subcommand("image", "What VMs are made of: files here, templates there");
  image->require_subcommand(1);
  auto options = std::make_shared<InspectOptions>();
  auto* command = image->add_subcommand(
      "inspect", "What an OVA, an OVF or a disk image holds, and the VM that it becomes");
  command->add_option("file", options->file, "An .ova, an .ovf, or a disk image")->required();
  command->add_flag("--json", options->as_json, "One JSON object");
  command->add_flag("--no-checksums", options->no_checksums,
                    "Read headers only: no sums are made and the manifest is not checked");
  command->callback([options, &exit_code] {
    inspect(*options);
    exit_code = 0;
  });
  add_file_commands(*image, exit_code);
  add_server_commands(*image, exit_code);
  add_export_command(*image, exit_code);
}

}  // namespace px::cli
