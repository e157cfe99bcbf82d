#include "sandbox/native_options.hpp"

#include "image/drives.hpp"
#include "pve/native_options.hpp"
#include "pve/qemu.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

namespace px::sandbox {

namespace {

struct Taken {
  std::string_view option;
  std::string_view instead;
};

/// What the provider sets on every VM, or what is no option of it but one of the request.
constexpr std::array taken{
    Taken{"memory", "use ram_mb"},
    Taken{"cores", "use vcpus"},
    Taken{"sockets", "use vcpus"},
    Taken{"name", "use name"},
    Taken{"ostype", "use os_type"},
    Taken{"bios", "use uefi_boot"},
    Taken{"efidisk0", "use uefi_boot"},
    Taken{"tpmstate0", "use tpm"},
    Taken{"tags", "the provider marks its VMs by them"},
    Taken{"description", "the provider marks its VMs by it"},
    Taken{"onboot", "a sample's VM never starts with its node"},
    Taken{"template", "a sample's VM is none"},
    Taken{"agent", "commands go through the guest agent"},
    Taken{"lock", "the server sets it"},
    Taken{"vmid", "the provider takes a free one"},
    Taken{"node", "it is the instance's"},
    Taken{"pool", "use pool"},
    Taken{"storage", "use storage"},
    Taken{"delete", "it is no option of a VM"},
    Taken{"revert", "it is no option of a VM"},
    Taken{"digest", "it is no option of a VM"},
    Taken{"force", "it is no option of a VM"},
    Taken{"skiplock", "it is no option of a VM"},
    Taken{"background_delay", "it is no option of a VM"},
};

/// Of Proxmox VE's own cloud-init drive, whose place ours takes.
bool is_of_cloud_init(const std::string& option, const std::string& value) {
  constexpr std::array names{"cicustom", "ciuser",  "cipassword", "ciupgrade",
                             "citype",   "sshkeys", "nameserver", "searchdomain"};
  return std::ranges::find(names, option) != names.end() || option.starts_with("ipconfig") ||
         image::is_cloud_init_drive(option, value);
}

std::string_view instead_of(const VmSpec& vm, const std::string& option, const std::string& value) {
  const auto found = std::ranges::find(taken, option, &Taken::option);
  if (found != taken.end()) return found->instead;
  if (vm.cloud_init && is_of_cloud_init(option, value)) return "cloud_init is set, too";
  if (option == "cpu" && vm.cpu) return "cpu is set, too";
  if (option == "machine" && vm.machine) return "machine is set, too";
  if (pve::qemu::is_card(option) && vm.cards && std::stoul(option.substr(3)) < vm.cards->size()) {
    return "use nics";
  }
  return {};
}

/// A number that no server gives by itself. A VM that has it all the same is not changed, for no
/// configuration has this digest.
constexpr std::int64_t nobodys_vmid = 999'999'999;
constexpr std::string_view nobodys_digest = "0000000000000000000000000000000000000000";

}  // namespace

NativeOptions native_options(const VmSpec& vm) {
  NativeOptions out;
  for (const auto& [option, value] : vm.extra_proxmox_native_config) {
    const std::string name{option};
    const auto text = pve::option_text(pve::field_of_native_option(vm.field, name), value);
    const auto instead = instead_of(vm, name, text);
    if (!instead.empty())
      throw_bad_input(pve::field_of_native_option(vm.field, name), text, instead);
    out.emplace_back(name, text);
  }
  return out;
}

awaitable<void> check_native_options(pve::Client& client, pve::NodeName node, VmSpec vm) {
  const auto options = native_options(vm);
  if (options.empty()) co_return;
  pve::Params params;
  for (const auto& [option, value] : options) params.add(option, value);
  const pve::VmRef nobody{node, pve::Vmid::from_number(nobodys_vmid)};
  std::optional<Error> refusal;
  try {
    // The server checks the form of all parameters before it looks for the VM (pve-facts section
    // 2).
    co_await pve::qemu::set_config_if_unchanged(client, nobody, std::move(params),
                                                std::string{nobodys_digest},
                                                Deadline::after(std::chrono::seconds{60}));
  } catch (const Error& error) {
    if (error.kind != Errc::not_found) refusal = error;
  }
  if (refusal) pve::throw_refused(vm.field, options, *refusal);
}

void check_against_template(const VmSpec& vm, const image::Template& base) {
  for (const auto& [option, value] : native_options(vm)) {
    const auto own = base.config.get(option);
    const bool is_disk =
        own.find(":base-") != std::string::npos || own.find("/base-") != std::string::npos;
    if (!is_disk) continue;
    throw_bad_input(pve::field_of_native_option(vm.field, option), value,
                    fmt::format("template {} has its disk {} there; take another place",
                                base.vm.vmid, own.substr(0, own.find(','))));
  }
}

}  // namespace px::sandbox
