#include "cli/image_export.hpp"

#include "cli/servers.hpp"
#include "cli/work.hpp"
#include "image/disk_header.hpp"
#include "image/drives.hpp"
#include "image/ova_writer.hpp"
#include "pve/qemu.hpp"
#include "pve/storage.hpp"
#include "sandbox/instances.hpp"
#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <regex>
#include <vector>

namespace px::cli {

namespace {

namespace fs = std::filesystem;

struct ExportOptions {
  std::uint32_t vmid = 0;
  std::string to;
};

struct ExportedDisk {
  std::string option;  ///< scsi0
  std::string drive;   ///< what the configuration says of it
  pve::VolumeId volume() const { return pve::VolumeId::parse(drive.substr(0, drive.find(','))); }
};

/// The one that boots first.
std::vector<ExportedDisk> disks_of(const pve::qemu::VmConfigMap& config) {
  static const std::regex slot{"(scsi|virtio|ide|sata)[0-9]+"};
  const auto boots = image::boot_disk(config);
  std::vector<ExportedDisk> out;
  for (const auto& [option, value] : config.values) {
    if (!std::regex_match(option, slot) || value.find("media=cdrom") != std::string::npos) continue;
    out.insert(option == boots ? out.begin() : out.end(), {option, value});
  }
  return out;
}

/// What a node does not give out has to be fetched on it.
Error not_here(const pve::VmRef& vm, const pve::VolumeId& volume, const std::string& path) {
  return Error{
      Errc::unsupported,
      fmt::format("the disk {} of VM {} lies on node {}, and Proxmox VE's API gives no disk "
                  "out",
                  volume, vm.vmid, vm.node)}
      .with_hint(fmt::format("On the node, for each disk: qemu-img convert -O qcow2 {} disk.qcow2; "
                             "copy it here, then: proxmox-sandbox image to-ova disk.qcow2 -o FILE",
                             path));
}

bool is_this_machine(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

/// A tunnel may end at another machine: then there is no such file here, or one of another size.
fs::path file_here(const pve::Instance& server, const pve::VmRef& vm, const ExportedDisk& disk,
                   const std::string& path) {
  std::error_code error;
  if (!is_this_machine(server.host) || !fs::is_regular_file(path, error)) {
    throw not_here(vm, disk.volume(), path);
  }
  constexpr double gib = 1ULL << 30U;
  constexpr double rounding = 1ULL << 20U;
  const auto seen = static_cast<double>(image::read_disk_header(fs::path{path}).virtual_size);
  if (std::abs(seen - image::gib_of_drive(disk.drive) * gib) >= rounding) {
    throw not_here(vm, disk.volume(), path);
  }
  return path;
}

image::NewAppliance appliance_of(const pve::qemu::VmConfigMap& config, pve::Vmid vmid,
                                 const std::string& boots) {
  image::NewAppliance out;
  const auto number = [&](const char* option, int otherwise) {
    const auto text = config.get(option);
    return text.empty() ? otherwise : std::stoi(text);
  };
  out.name = config.get("name").empty() ? fmt::format("vm-{}", vmid) : config.get("name");
  out.vcpus = number("cores", 1) * number("sockets", 1);
  out.memory_mib = number("memory", 512);
  out.uefi = config.get("bios") == "ovmf";
  out.windows = config.get("ostype").starts_with('w');
  for (const auto* bus : {"ide", "sata"}) {
    if (boots.starts_with(bus)) out.disk_controller = bus;
  }
  const auto card = config.get("net0");
  for (const auto* model : {"virtio", "vmxnet3"}) {
    if (card.starts_with(model)) out.nic_model = model;
  }
  return out;
}

/// What an OVA of ours can't say.
bool is_left_out(const std::string& option, const std::string& value) {
  constexpr std::array names{"efidisk0", "tpmstate0", "cicustom"};
  return std::ranges::find(names, option) != names.end() ||
         (pve::qemu::is_card(option) && option != "net0") ||
         image::is_cloud_init_drive(option, value);
}

awaitable<image::NewAppliance> look(pve::Client& client, pve::Vmid vmid) {
  const pve::VmRef vm{pve::NodeName::parse(client.instance().node), vmid};
  if ((co_await pve::qemu::status(client, vm)).running) {
    throw Error{Errc::rejected, fmt::format("VM {} runs; stop it, or name its template", vmid)};
  }
  const auto config = co_await pve::qemu::config(client, vm);
  const auto disks = disks_of(config);
  if (disks.empty()) throw_bad_input("vmid", vmid.text(), "this VM has no disk");
  auto out = appliance_of(config, vmid, disks.front().option);
  for (const auto& disk : disks) {
    const auto path = co_await pve::storage::path_of(client, vm.node, disk.volume());
    out.disks.push_back(file_here(client.instance(), vm, disk, path));
  }
  for (const auto& [option, value] : config.values) {
    if (is_left_out(option, value)) fmt::print(stderr, "left out: {}\n", option);
  }
  co_return out;
}

void export_vm(const ExportOptions& options) {
  const auto vmid = pve::Vmid::from_number(options.vmid);
  image::NewAppliance appliance;
  const auto servers = read_servers();
  work_on(servers.front(),
          [&](pve::Client& client) -> awaitable<void> { appliance = co_await look(client, vmid); });
  image::write_ova(appliance, options.to,
                   [](const std::string& stage) { fmt::print(stderr, "{} ...\n", stage); });
  fmt::print("{}\n", options.to);
}

}  // namespace

void add_export_command(CLI::App& image, int& exit_code) {
  const auto options = std::make_shared<ExportOptions>();
  auto* command = image.add_subcommand(
      "export", "Makes an OVA of a template or a stopped VM of a node on this machine");
  command->add_option("vmid", options->vmid, "Its number")->required();
  command->add_option("--to", options->to, "The .ova to be written")->required();
  command->callback([options, &exit_code] {
    export_vm(*options);
    exit_code = 0;
  });
}

}  // namespace px::cli
