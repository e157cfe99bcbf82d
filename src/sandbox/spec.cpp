#include "sandbox/spec.hpp"

#include "guest/windows/helper.hpp"
#include "image/appliance_vm.hpp"
#include "image/download.hpp"
#include "image/install_medium.hpp"
#include "image/ova.hpp"
#include "sandbox/native_options.hpp"
#include "support/error.hpp"
#include "support/json.hpp"

#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

namespace px::sandbox {

template <class V>
void describe(V& visit, VmSourceSpec& s) {
  visit("built_in", s.built_in);
  visit("ova", s.ova);
  visit("disk", s.disk);
  visit("iso", s.iso);
  visit("checksum", s.checksum);
  visit("existing_vm_template_tag", s.existing_vm_template_tag);
  visit("existing_backup_name", s.existing_backup_name);
}

template <class V>
void describe(V& visit, VmSpec& s) {
  visit("vm_source_config", s.vm_source_config);
  visit("name", s.name);
  visit("ram_mb", s.ram_mb);
  visit("vcpus", s.vcpus);
  visit("nics", s.nics);
  visit("is_sandbox", s.is_sandbox);
  visit("uefi_boot", s.uefi_boot);
  visit("disk_controller", s.disk_controller);
  visit("nic_controller", s.nic_controller);
  visit("firewall", s.firewall);
  visit("os_type", s.os_type);
  visit("cpu", s.cpu);
  visit("await_before_next_vm", s.await_before_next_vm);
  visit("user", s.user);
  visit("disk_gb", s.disk_gb);
  visit("full_clone", s.full_clone);
  visit("tpm", s.tpm);
  visit("secure_boot", s.secure_boot);
  visit("machine", s.machine);
  visit("pool", s.pool);
  visit("storage", s.storage);
  visit("cloud_init", s.cloud_init);
  visit("extra_proxmox_native_config", s.extra_proxmox_native_config);
}

namespace {

/// The configuration's top level, as it comes.
struct RawSpec {
  std::string instance_pool_id = "default";
  std::optional<std::string> host;
  std::optional<int> port;
  std::optional<std::string> user;
  std::optional<std::string> user_realm;
  std::optional<std::string> password;
  std::optional<std::string> node;
  std::optional<bool> verify_tls;
  std::optional<std::string> image_storage;
  json::value sdn_config = "auto";
  std::vector<json::value> vms_config;
  bool verify_isolation = false;
};

template <class V>
void describe(V& visit, RawSpec& s) {
  visit("instance_pool_id", s.instance_pool_id);
  visit("host", s.host);
  visit("port", s.port);
  visit("user", s.user);
  visit("user_realm", s.user_realm);
  visit("password", s.password);
  visit("node", s.node);
  visit("verify_tls", s.verify_tls);
  visit("image_storage", s.image_storage);
  visit("sdn_config", s.sdn_config);
  visit("vms_config", s.vms_config);
  visit("verify_isolation", s.verify_isolation);
}

/// Proxmox VE has net0..net31 (qemu-server, MAX_NETS).
constexpr std::size_t most_cards = 32;

bool is_dns_name(std::string_view name) {
  if (name.empty() || name.size() > 63) return false;
  const auto inner = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.';
  };
  const auto edge = [&](char c) { return inner(c) && c != '-' && c != '.'; };
  return edge(name.front()) && edge(name.back()) && std::all_of(name.begin(), name.end(), inner) &&
         name.find("..") == std::string_view::npos;
}

void check_one_of(const std::string& field, const std::string& value,
                  const std::vector<std::string_view>& allowed) {
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
    throw_bad_input(field, value, fmt::format("it is one of {}", fmt::join(allowed, ", ")));
  }
}

void check_range(const std::string& field, int value, int least, int most) {
  if (value < least || value > most) {
    throw_bad_input(field, std::to_string(value), fmt::format("it lies in {}..{}", least, most));
  }
}

/// The fields of a source that are set, by name.
std::vector<std::pair<std::string_view, std::string>> named_in(const VmSourceSpec& source) {
  std::vector<std::pair<std::string_view, std::string>> out;
  const auto add = [&](std::string_view name, const std::optional<std::string>& value) {
    if (value) out.emplace_back(name, *value);
  };
  add("built_in", source.built_in);
  add("ova", source.ova);
  add("disk", source.disk);
  add("iso", source.iso);
  add("existing_vm_template_tag", source.existing_vm_template_tag);
  add("existing_backup_name", source.existing_backup_name);
  return out;
}

void check_url(const std::string& field, const std::string& url, const VmSourceSpec& source) {
  if (!source.checksum) {
    throw_bad_input(field, image::shown_url(url), "it was not fetched; it needs a checksum");
  }
}

void check_source(const std::string& field, const VmSourceSpec& source) {
  const auto named = named_in(source);
  if (named.size() != 1) {
    throw Error{Errc::bad_input,
                fmt::format("{}: names {} sources; exactly one of built_in, ova, disk, "
                            "iso, existing_vm_template_tag, existing_backup_name is needed",
                            field, named.size())};
  }
  const auto& [name, value] = named.front();
  if (value.empty()) throw_bad_input(field, "", "the source has no name");
  const bool is_file =
      name == "ova" || name == "disk" || (name == "iso" && !image::is_iso_volume(value));
  if (source.checksum) {
    image::parse_checksum(field + ".checksum", *source.checksum);
    if (!is_file)
      throw_bad_input(field + ".checksum", *source.checksum,
                      "only a file behind ova, disk or iso has one");
  }
  if (is_file && image::is_url(value)) {
    check_url(fmt::format("{}.{}", field, name), value, source);
    return;
  }
  std::error_code error;
  if (is_file && !std::filesystem::is_regular_file(value, error)) {
    throw_bad_input(fmt::format("{}.{}", field, name), value,
                    error ? error.message() : "it is no file");
  }
}

void check_vm(const VmSpec& vm) {
  const auto& field = vm.field;
  check_source(field + ".vm_source_config", vm.vm_source_config);
  if (vm.name && !is_dns_name(*vm.name)) {
    throw_bad_input(
        field + ".name", *vm.name,
        "a DNS name has 1..63 letters, digits, - and ., none of the last two at an end");
  }
  check_range(field + ".ram_mb", vm.ram_mb, 16, 4'194'304);
  check_range(field + ".vcpus", vm.vcpus, 1, 512);
  if (vm.disk_controller) {
    check_one_of(field + ".disk_controller", *vm.disk_controller, {"scsi", "ide"});
  }
  if (vm.nic_controller) {
    check_one_of(field + ".nic_controller", *vm.nic_controller,
                 {"virtio", "e1000", "e1000e", "vmxnet3", "rtl8139", "pcnet"});
  }
  if (vm.disk_gb) check_range(field + ".disk_gb", *vm.disk_gb, 1, 131'072);
  if (vm.secure_boot && !vm.uefi_boot) {
    throw_bad_input(field + ".secure_boot", "True", "it needs uefi_boot=True");
  }

  check_one_of(field + ".os_type", vm.os_type,
               {"l24", "l26", "other", "solaris", "w2k", "w2k3", "w2k8", "win7", "win8", "win10",
                "win11", "wvista", "wxp"});
  if (vm.user && vm.user->empty()) throw_bad_input(field + ".user", "", "a user has a name");
  if (vm.user && is_windows(vm) && !boost::algorithm::iequals(*vm.user, "SYSTEM")) {
    throw_bad_input(field + ".user", *vm.user, "a Windows guest runs commands as SYSTEM");
  }
}

/// What an OVA says stands where the configuration says nothing.
VmSpec defaults_of_ova(const std::string& file) {
  const auto appliance = image::read_ova(file);
  const auto shape = image::vm_of(appliance);
  VmSpec vm;
  if (appliance.machine.memory_mib) vm.ram_mb = static_cast<int>(*appliance.machine.memory_mib);
  if (appliance.machine.vcpus) vm.vcpus = *appliance.machine.vcpus;
  vm.uefi_boot = appliance.machine.firmware == image::Firmware::efi;
  vm.secure_boot = appliance.machine.secure_boot;
  vm.os_type = shape.os_type;
  if (!shape.nic_models.empty()) vm.nic_controller = shape.nic_models.front();
  for (const auto& nic : appliance.machine.nics) vm.source_networks.push_back(nic.network);
  return vm;
}

VmSpec read_vm(const std::string& field, const json::value& from) {
  VmSpec vm;
  const auto* source = json::find(from, "vm_source_config");
  const auto* ova = source == nullptr ? nullptr : json::find(*source, "ova");
  if (ova != nullptr && ova->is_string()) {
    const std::string file{ova->get_string()};
    VmSourceSpec named;
    json::read_over(named, *source, field + ".vm_source_config");
    check_source(field + ".vm_source_config", named);
    vm = defaults_of_ova(file);
  }
  json::read_over(vm, from, field);
  vm.field = field;
  return vm;
}

/// Where an OVA's cards are in several networks and each of these is a VNet of the sample by its
/// name, that is what was meant. Else nothing tells which is which.
bool names_vnets(const network::Plan& plan, const std::vector<std::string>& networks) {
  const std::set<std::string> different{networks.begin(), networks.end()};
  return different.size() > 1 && std::ranges::all_of(different, [&](const std::string& name) {
           return !name.empty() &&
                  std::ranges::find(plan.vnets, name, &network::PlannedVnet::alias) !=
                      plan.vnets.end();
         });
}

/// What `nics` says, or an OVA in its place.
std::optional<std::vector<network::NicConfig>> nics_of(const network::Plan& plan,
                                                       const VmSpec& vm) {
  if (vm.nics || !names_vnets(plan, vm.source_networks)) return vm.nics;
  std::vector<network::NicConfig> out;
  for (const auto& name : vm.source_networks) out.push_back({name, std::nullopt, std::nullopt});
  return out;
}

/// The cards of one VM. `nics` left out: one in the first VNet, where there is one; a template that
/// people brought keeps its own.
std::optional<std::vector<network::Card>> cards_of(const network::Plan& plan,
                                                   const std::string& field, const VmSpec& vm) {
  const auto path = field + ".nics";
  const bool keeps_its_own = vm.vm_source_config.existing_vm_template_tag.has_value() ||
                             vm.vm_source_config.existing_backup_name.has_value();
  if (!vm.nics && keeps_its_own) return std::nullopt;
  std::vector<network::Card> cards;
  const auto nics = nics_of(plan, vm);
  if (!nics && !plan.vnets.empty()) cards.push_back(network::first_card(path));
  if (!nics) return cards;
  if (nics->size() > most_cards) {
    throw_bad_input(path, fmt::format("{} cards", nics->size()),
                    fmt::format("a VM has at most {}", most_cards));
  }
  for (std::size_t i = 0; i < nics->size(); ++i) {
    cards.push_back(network::plan_card(plan, fmt::format("{}[{}]", path, i), (*nics)[i]));
  }
  return cards;
}

void plan_cards(Spec& spec) {
  std::vector<network::Card> all;
  for (std::size_t i = 0; i < spec.vms.size(); ++i) {
    auto& vm = spec.vms[i];
    vm.cards = cards_of(spec.networks, fmt::format("vms_config[{}]", i), vm);
    if (vm.cards) all.insert(all.end(), vm.cards->begin(), vm.cards->end());
  }
  network::check_cards(spec.networks, all);
}

/// What a guest's cloud-init reads.
void make_seed(VmSpec& vm) {
  if (!vm.cloud_init) return;
  const auto field = vm.field + ".cloud_init";
  if (is_windows(vm)) {
    throw Error{Errc::unsupported,
                fmt::format("{}: the guest is Windows (os_type \"{}\"), which has no cloud-init",
                            field, vm.os_type)};
  }
  vm.seed = std::make_shared<const image::SeedImage>(
      image::make_seed_image(seed_of(field, *vm.cloud_init, vm.name.value_or(""))));
}

/// A build without a compiler for Windows has no helper to put into such guests.
void refuse_windows_without_helper(const Spec& spec) {
  for (const auto& vm : spec.vms) {
    if (!vm.is_sandbox || !is_windows(vm) || !guest::windows_guest::helper_program().empty()) {
      continue;
    }
    throw Error{Errc::unsupported,
                fmt::format("{}.os_type: is \"{}\"; this build can't drive Windows guests",
                            vm.field, vm.os_type)}
        .with_hint("Install gcc-mingw-w64-x86-64-win32 and build it again.");
  }
}

}  // namespace

std::string VmSourceSpec::text() const {
  const auto named = named_in(*this);
  return named.empty() ? "no source"
                       : fmt::format("{} {}", named.front().first, named.front().second);
}

bool is_windows(const VmSpec& vm) {
  return vm.os_type.starts_with('w');
}

bool InstanceOverrides::any() const noexcept {
  return host || port || user || user_realm || !password.empty() || node || verify_tls ||
         image_storage;
}

Spec parse_spec(std::string_view json_text) {
  auto raw = json::to<RawSpec>(json::parse(json_text, "the sandbox configuration"));
  if (raw.vms_config.empty()) {
    throw Error{Errc::bad_input, "vms_config: is empty; at least one VM with is_sandbox is needed"};
  }
  std::set<std::string> names;
  bool any_sandbox = false;
  std::vector<VmSpec> vms;
  for (std::size_t i = 0; i < raw.vms_config.size(); ++i) {
    const auto field = fmt::format("vms_config[{}]", i);
    auto& vm = vms.emplace_back(read_vm(field, raw.vms_config[i]));
    check_vm(vm);
    make_seed(vm);
    if (vm.name && !names.insert(*vm.name).second) {
      throw_bad_input(field + ".name", *vm.name, "another VM of this sample has that name");
    }
    any_sandbox = any_sandbox || vm.is_sandbox;
  }
  if (!any_sandbox) {
    throw Error{Errc::bad_input, "vms_config: no VM has is_sandbox=True; one at least is needed"};
  }
  if (raw.port) check_range("port", *raw.port, 1, 65535);

  Spec spec;
  spec.networks = network::parse_plan(raw.sdn_config);
  spec.instance_pool_id = raw.instance_pool_id;
  spec.overrides = {
      raw.host, raw.port,       raw.user,         raw.user_realm, Secret{raw.password.value_or("")},
      raw.node, raw.verify_tls, raw.image_storage};
  spec.vms = std::move(vms);
  spec.verify_isolation = raw.verify_isolation;
  plan_cards(spec);
  for (const auto& vm : spec.vms) native_options(vm);
  refuse_windows_without_helper(spec);
  return spec;
}

}  // namespace px::sandbox
