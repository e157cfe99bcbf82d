#include "cli/image_files.hpp"

#include "image/built_in.hpp"
#include "image/disk_header.hpp"
#include "image/ova_writer.hpp"
#include "image/recipe.hpp"
#include "support/error.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>

namespace px::cli {

namespace {

namespace fs = std::filesystem;

// --- add -----------------------------------------------------------------------------------------

struct AddOptions {
  std::string name;
  std::string from;
};

void add(const AddOptions& options) {
  const auto& built_in = image::find_built_in(options.name);
  image::read_disk_header(fs::path{options.from});
  const auto folder = image::cache_directory() / "images";
  const auto target = folder / built_in.file;
  const auto unfinished = folder / (std::string{built_in.file} + ".part");
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) {
    fs::copy_file(options.from, unfinished, fs::copy_options::overwrite_existing, error);
  }
  if (!error) fs::rename(unfinished, target, error);
  if (error) {
    std::error_code ignored;
    fs::remove(unfinished, ignored);
    throw Error{Errc::rejected, fmt::format("{}: {}", target.string(), error.message())}.with_hint(
        "XDG_CACHE_HOME names another place.");
  }
  fmt::print("{}\n", target.string());
  if (!built_in.sum.empty() && image::file_sum(target, built_in.kind) != built_in.sum) {
    fmt::print(stderr, "It is not the image at {}; it is taken for what it is.\n", built_in.url);
  }
}

// --- to-ova --------------------------------------------------------------------------------------

struct OvaOptions {
  image::NewAppliance appliance;
  std::vector<std::string> disks;
  std::string output;
};

void make_ova(const OvaOptions& options) {
  auto appliance = options.appliance;
  appliance.disks.assign(options.disks.begin(), options.disks.end());
  if (appliance.name.empty()) appliance.name = fs::path{options.output}.stem().string();
  const auto bad = appliance.name.find_first_not_of(
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.");
  if (bad != std::string::npos) {
    throw_bad_input("--name", appliance.name, "a name has letters, digits, - and . only");
  }
  image::write_ova(appliance, options.output,
                   [](const std::string& stage) { fmt::print(stderr, "{} ...\n", stage); });
  fmt::print("{}\n", options.output);
}

}  // namespace

void add_file_commands(CLI::App& image, int& exit_code) {
  const auto adding = std::make_shared<AddOptions>();
  auto* adds = image.add_subcommand("add", "Puts a built-in's file where it is looked for");
  adds->add_option("name", adding->name, "The built-in, for example debian13-small")->required();
  adds->add_option("--from", adding->from, "Its disk image")->required();
  adds->callback([adding, &exit_code] {
    add(*adding);
    exit_code = 0;
  });

  const auto making = std::make_shared<OvaOptions>();
  auto& appliance = making->appliance;
  auto* makes = image.add_subcommand("to-ova", "Makes an OVA of disks that qemu-img reads");
  makes->add_option("disks", making->disks, "Disk images; the first one boots")->required();
  makes->add_option("-o,--output", making->output, "The .ova to be written")->required();
  makes->add_option("--name", appliance.name, "Of the VM; else the file's");
  makes->add_option("--cores", appliance.vcpus, "Processors")
      ->capture_default_str()
      ->check(CLI::Range(1, 512));
  makes->add_option("--memory", appliance.memory_mib, "MiB")
      ->capture_default_str()
      ->check(CLI::Range(16, 4'194'304));
  makes->add_flag("--uefi", appliance.uefi, "It boots by UEFI");
  makes->add_flag("--windows", appliance.windows, "Its system is Windows");
  makes->add_option("--disk-controller", appliance.disk_controller, "scsi, ide or sata")
      ->capture_default_str()
      ->check(CLI::IsMember({"scsi", "ide", "sata"}));
  makes->add_option("--nic", appliance.nic_model, "Model of its card")
      ->capture_default_str()
      ->check(CLI::IsMember({"e1000", "vmxnet3", "virtio"}));
  makes->callback([making, &exit_code] {
    make_ova(*making);
    exit_code = 0;
  });
}

}  // namespace px::cli
