#include "node/vm/vm_options.hpp"

#include "node/vm/vms.hpp"

#include <algorithm>
#include <array>
#include <regex>
#include <set>

namespace px::node {

namespace {

/// Options of PVE that this node does not offer but that a `delete` may name
/// (pve/api-schema.json, PUT config).
constexpr std::array<std::string_view, 36> other_options{"affinity",
                                                         "allow-ksm",
                                                         "amd-sev",
                                                         "arch",
                                                         "args",
                                                         "audio",
                                                         "autostart",
                                                         "bootdisk",
                                                         "cdrom",
                                                         "cicustom",
                                                         "cipassword",
                                                         "citype",
                                                         "ciupgrade",
                                                         "ciuser",
                                                         "freeze",
                                                         "hookscript",
                                                         "hostpci",
                                                         "hugepages",
                                                         "intel-tdx",
                                                         "ipconfig",
                                                         "ivshmem",
                                                         "keephugepages",
                                                         "keyboard",
                                                         "lock",
                                                         "migrate_downtime",
                                                         "migrate_speed",
                                                         "nameserver",
                                                         "parallel",
                                                         "searchdomain",
                                                         "shares",
                                                         "spice_enhancements",
                                                         "sshkeys",
                                                         "startdate",
                                                         "tpmstate",
                                                         "usb",
                                                         "watchdog"};

/// Keys of a drive's text, of all buses (the schema's nested format).
const std::set<std::string, std::less<>>& drive_keys() {
  static const std::set<std::string, std::less<>> keys{"aio",         "backup",
                                                       "cache",       "detect_zeroes",
                                                       "discard",     "efitype",
                                                       "file",        "format",
                                                       "import-from", "iothread",
                                                       "media",       "model",
                                                       "ms-cert",     "pre-enrolled-keys",
                                                       "product",     "queues",
                                                       "replicate",   "rerror",
                                                       "ro",          "scsiblock",
                                                       "secs",        "serial",
                                                       "shared",      "size",
                                                       "snapshot",    "ssd",
                                                       "vendor",      "werror",
                                                       "wwn"};
  return keys;
}

[[noreturn]] void bad_format(const std::string& name, const std::string& text) {
  throw ApiError::parameter(name, "invalid format - " + text + "\n");
}

std::string check_vm_name(const std::string& value) {
  static const std::regex dns{
      "([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)(\\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*"};
  if (!std::regex_match(value, dns)) {
    bad_format("name", "value does not look like a valid DNS name");
  }
  return value;
}

std::string sort_tags(const std::string& value) {
  static const std::regex tag{"[a-z0-9_][a-z0-9_+.-]*"};
  std::set<std::string> tags;
  std::string word;
  const auto keep = [&] {
    if (word.empty()) return;
    if (!std::regex_match(word, tag)) bad_format("tags", "invalid characters in tag");
    tags.insert(std::exchange(word, {}));
  };
  for (const char c : value) {
    if (c == ',' || c == ';' || c == ' ' || c == '\t' || c == '\n') {
      keep();
    } else {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  keep();
  return fmt::format("{}", fmt::join(tags, ";"));
}

std::string check_memory(const std::string& value) {
  const Properties memory{value};
  const std::string current = memory.get("", memory.get("current"));
  std::int64_t mib = 0;
  try {
    mib = number_option({{"memory", current}}, "memory", 0);
  } catch (const Error&) {
    bad_format("memory", fmt::format("format error\nmemory.current: type check ('integer') failed "
                                     "- got '{}'",
                                     current));
  }
  if (mib < 16) {
    bad_format("memory", "format error\nmemory.current: value must have a minimum value of 16");
  }
  return value;
}

/// The NIC models of the schema, in its order.
constexpr std::array<std::string_view, 14> nic_models{
    "e1000",    "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e",  "i82551", "i82557b",
    "i82559er", "ne2k_isa",      "ne2k_pci",      "pcnet",         "rtl8139", "virtio", "vmxnet3"};

std::string complete_nic(const std::string& name, const std::string& value) {
  static const std::regex mac{"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}"};
  Properties nic{value};
  std::string model = nic.get("", nic.get("model"));
  std::string address = nic.get("macaddr");
  for (const auto known : nic_models) {
    if (!nic.has(known)) continue;
    model = known;
    address = nic.get(known);
  }
  if (model.empty()) {
    bad_format(name, fmt::format("format error\n{}.model: property is missing and it is not "
                                 "optional\n",
                                 name));
  }
  if (std::find(nic_models.begin(), nic_models.end(), model) == nic_models.end()) {
    bad_format(name, fmt::format("format error\n{}.model: value '{}' does not have a value in the "
                                 "enumeration '{}'",
                                 name, model, fmt::join(nic_models, ", ")));
  }
  if (!address.empty() && !std::regex_match(address, mac)) {
    bad_format(name, fmt::format("format error\n{}.macaddr: invalid format - value does not look "
                                 "like a valid unicast MAC address\n",
                                 name));
  }
  for (const auto* key : {"", "model", "macaddr"}) nic.erase(key);
  nic.erase(model);
  if (address.empty()) address = new_mac();
  const std::string rest = nic.print();
  return fmt::format("{}={}{}{}", model, address, rest.empty() ? "" : ",", rest);
}

std::string check_drive(const std::string& name, const std::string& value) {
  Drive drive;
  try {
    drive = Drive::parse(name, value);
  } catch (const Error&) {
    throw ApiError::parameter(name, "unable to parse drive options");
  }
  for (const auto& [key, unused] : drive.properties.items()) {
    if (drive_keys().contains(key)) continue;
    bad_format(name, fmt::format("format error\n{}.{}: property is not defined in schema and the "
                                 "schema does not allow additional properties\n",
                                 name, key));
  }
  if (!drive.is_empty() && drive.volume != "cdrom" && !drive.volume.starts_with('/') &&
      drive.volume.find(':') == std::string::npos) {
    bad_format(name,
               fmt::format("format error\n{}.file: invalid format - unable to parse volume ID "
                           "'{}'\n",
                           name, drive.volume));
  }
  if (drive.volume == "cdrom") throw ApiError::parameter(name, "the host's drive is not offered");
  return drive.print();
}

}  // namespace

const std::vector<Param>& vm_option_params() {
  using enum ParamType;
  static const std::vector<Param> params{
      {.name = "acpi", .type = boolean},
      {.name = "agent"},
      {.name = "balloon", .type = integer, .minimum = 0},
      {.name = "bios", .one_of = {"seabios", "ovmf"}},
      {.name = "boot"},
      {.name = "cores", .type = integer, .minimum = 1},
      {.name = "cpu"},
      {.name = "cpulimit", .type = number, .minimum = 0, .maximum = 128},
      {.name = "cpuunits", .type = integer, .minimum = 1, .maximum = 262144},
      {.name = "description", .max_length = 8192},
      {.name = "efidisk0"},
      {.name = "hotplug"},
      {.name = "ide[n]"},
      {.name = "kvm", .type = boolean},
      {.name = "localtime", .type = boolean},
      {.name = "machine"},
      {.name = "memory"},
      {.name = "name"},
      {.name = "net[n]"},
      {.name = "numa", .type = boolean},
      {.name = "onboot", .type = boolean},
      {.name = "ostype",
       .one_of = {"other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11",
                  "l24", "l26", "solaris"}},
      {.name = "protection", .type = boolean},
      {.name = "reboot", .type = boolean},
      {.name = "rng0"},
      {.name = "sata[n]"},
      {.name = "scsi[n]"},
      {.name = "scsihw",
       .one_of = {"lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas",
                  "pvscsi"}},
      {.name = "serial[n]", .pattern = "(/dev/[^,]+|socket)"},
      {.name = "smbios1", .max_length = 512},
      {.name = "sockets", .type = integer, .minimum = 1},
      {.name = "startup"},
      {.name = "tablet", .type = boolean},
      {.name = "tags"},
      {.name = "tdf", .type = boolean},
      {.name = "unused[n]"},
      {.name = "vcpus", .type = integer, .minimum = 1},
      {.name = "vga"},
      {.name = "virtio[n]"},
      {.name = "vmgenid",
       .pattern = "(?:[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}|[01])"},
      {.name = "vmstatestorage"},
  };
  return params;
}

bool is_known_option(std::string_view name) {
  const auto stem = name.substr(0, name.find_last_not_of("0123456789") + 1);
  const auto matches = [&](std::string_view known) {
    return known == name || known == stem || known == std::string{stem} + "[n]";
  };
  return std::any_of(other_options.begin(), other_options.end(), matches) ||
         std::any_of(vm_option_params().begin(), vm_option_params().end(),
                     [&](const Param& param) { return matches(param.name); });
}

std::string normalise_option(const std::string& name, const std::string& value) {
  if (is_drive_option(name)) return check_drive(name, value);
  if (name.starts_with("net")) return complete_nic(name, value);
  if (name == "name") return check_vm_name(value);
  if (name == "tags") return sort_tags(value);
  if (name == "memory") return check_memory(value);
  if (name == "vmgenid" && value == "1") return new_uuid();
  return value;
}

Options options_of(const Call& call) {
  Options options;
  std::map<std::string, std::string> errors;
  for (const auto& [name, values] : call.values) {
    const auto is_option = [&](const Param& param) {
      const bool indexed = param.name.ends_with("[n]");
      const auto stem = param.name.substr(0, param.name.size() - 3);
      return indexed ? name.starts_with(stem) &&
                           name.find_first_not_of("0123456789", stem.size()) == std::string::npos &&
                           name.size() > stem.size()
                     : param.name == name;
    };
    const auto& params = vm_option_params();
    const auto param = std::find_if(params.begin(), params.end(), is_option);
    // A JSON null arrives as an empty text, and means the same as no value.
    if (param == params.end() || (values.back().empty() && name != "description")) continue;
    try {
      const std::string text =
          param->type == ParamType::boolean ? (call.flag(name) ? "1" : "0") : values.back();
      options[name] = normalise_option(name, text);
    } catch (const ApiError& error) {
      errors.insert(error.errors.begin(), error.errors.end());
    }
  }
  if (!errors.empty()) throw ApiError{400, "Parameter verification failed.", std::move(errors)};
  return options;
}

json::value option_to_json(const std::string& name, const std::string& value) {
  const auto& params = vm_option_params();
  const auto param = std::find_if(params.begin(), params.end(),
                                  [&](const Param& known) { return known.name == name; });
  const bool number = param != params.end()
                          ? param->type == ParamType::integer || param->type == ParamType::boolean
                          : name == "template" || name == "snaptime";
  if (number) return number_option({{name, value}}, name, 0);
  return json::value(value);
}

}  // namespace px::node
