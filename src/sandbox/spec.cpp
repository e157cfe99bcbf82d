#include "sandbox/spec.hpp"

#include "support/error.hpp"
#include "support/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace px::sandbox {

template <class V>
void describe(V& visit, VmSourceSpec& s) {
  visit("built_in", s.built_in);
  visit("ova", s.ova);
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
  std::vector<VmSpec> vms_config;
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

void check_source(const std::string& field, const VmSourceSpec& source) {
  const int given = int{source.built_in.has_value()} + int{source.ova.has_value()} +
                    int{source.existing_vm_template_tag.has_value()} +
                    int{source.existing_backup_name.has_value()};
  if (given != 1) {
    throw Error{Errc::bad_input,
                fmt::format("{}: names {} sources; exactly one of built_in, ova, "
                            "existing_vm_template_tag, existing_backup_name is needed",
                            field, given)};
  }
  for (const auto* text : {&source.built_in, &source.ova, &source.existing_vm_template_tag,
                           &source.existing_backup_name}) {
    if (*text && (*text)->empty()) throw_bad_input(field, "", "the source has no name");
  }
}

void check_vm(const std::string& field, const VmSpec& vm) {
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
    check_one_of(field + ".nic_controller", *vm.nic_controller, {"virtio", "e1000"});
  }
  check_one_of(field + ".os_type", vm.os_type,
               {"l24", "l26", "other", "solaris", "w2k", "w2k3", "w2k8", "win7", "win8", "win10",
                "win11", "wvista", "wxp"});
  if (vm.user && vm.user->empty()) throw_bad_input(field + ".user", "", "a user has a name");
}

/// The cards of one VM. `nics` left out: one in the first VNet, where there is one; a template that
/// people brought keeps its own.
std::optional<std::vector<network::Card>> cards_of(const network::Plan& plan,
                                                   const std::string& field, const VmSpec& vm) {
  const auto nics = field + ".nics";
  const bool keeps_its_own = vm.vm_source_config.existing_vm_template_tag.has_value() ||
                             vm.vm_source_config.existing_backup_name.has_value();
  if (!vm.nics && keeps_its_own) return std::nullopt;
  std::vector<network::Card> cards;
  if (!vm.nics && !plan.vnets.empty()) cards.push_back(network::first_card(nics));
  if (!vm.nics) return cards;
  if (vm.nics->size() > most_cards) {
    throw_bad_input(nics, fmt::format("{} cards", vm.nics->size()),
                    fmt::format("a VM has at most {}", most_cards));
  }
  for (std::size_t i = 0; i < vm.nics->size(); ++i) {
    cards.push_back(network::plan_card(plan, fmt::format("{}[{}]", nics, i), (*vm.nics)[i]));
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

void refuse_unsupported(const Spec& spec) {
  const auto refuse = [](const std::string& field, std::string_view what,
                         std::string_view instead) {
    throw Error{Errc::unsupported, fmt::format("{}: {} in this version; {}", field, what, instead)};
  };
  for (std::size_t i = 0; i < spec.vms.size(); ++i) {
    const auto& vm = spec.vms[i];
    const auto field = fmt::format("vms_config[{}]", i);
    if (vm.vm_source_config.ova || vm.vm_source_config.existing_backup_name) {
      refuse(field + ".vm_source_config",
             fmt::format("{} can't be used", vm.vm_source_config.text()),
             "use built_in=\"debian13-small\" or existing_vm_template_tag");
    }
    if (vm.os_type.starts_with('w')) {
      refuse(field + ".os_type", "Windows guests can't be driven", "use a Linux guest");
    }
  }
}

}  // namespace

std::string VmSourceSpec::text() const {
  if (built_in) return "built_in " + *built_in;
  if (ova) return "ova " + *ova;
  if (existing_vm_template_tag) return "existing_vm_template_tag " + *existing_vm_template_tag;
  if (existing_backup_name) return "existing_backup_name " + *existing_backup_name;
  return "no source";
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
  for (std::size_t i = 0; i < raw.vms_config.size(); ++i) {
    const auto& vm = raw.vms_config[i];
    const auto field = fmt::format("vms_config[{}]", i);
    check_vm(field, vm);
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
  spec.vms = std::move(raw.vms_config);
  spec.verify_isolation = raw.verify_isolation;
  plan_cards(spec);
  refuse_unsupported(spec);
  return spec;
}

}  // namespace px::sandbox
