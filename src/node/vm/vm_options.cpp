#include "node/vm/vm_options.hpp"

#include "node/vm/cpu_option.hpp"
#include "node/vm/option_format.hpp"
#include "node/vm/password.hpp"
#include "node/vm/vms.hpp"

#include <boost/algorithm/string/case_conv.hpp>

#include <algorithm>
#include <array>
#include <regex>
#include <set>

namespace px::node {

namespace {

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
  if (auto text = property_problem(name, rest, *property_format_of(name)); !text.empty()) {
    throw ApiError::parameter(name, "invalid format - " + text);
  }
  return fmt::format("{}={}{}{}", model, address, rest.empty() ? "" : ",", rest);
}

/// Booleans as 1 and 0, as PVE prints a drive that it has parsed.
void normalise_flags(Drive& drive, const PropertyFormat& format) {
  for (const auto& key : format.keys) {
    if (key.type == ParamType::boolean && drive.properties.has(key.name)) {
      drive.properties.set(key.name, drive.properties.flag(key.name) ? "1" : "0");
    }
  }
}

std::string check_drive(const std::string& name, const std::string& value) {
  Drive drive;
  try {
    drive = Drive::parse(name, value);
  } catch (const Error&) {
    throw ApiError::parameter(name, "unable to parse drive options");
  }
  if (drive.volume == "cdrom") throw ApiError::parameter(name, "the host's drive is not offered");
  normalise_flags(drive, *property_format_of(name));
  return drive.print();
}

/// PVE keeps a salted hash, but for Windows, whose agent needs the password itself (qemu-server
/// API2/Qemu.pm). What looks like a hash is one.
std::string keep_password(const std::string& password, const Options& options) {
  static const std::regex hash{R"(\$([156]|2[ay])(\$[^$]+){2,})"};
  const bool hashed = password.size() < 200 && std::regex_match(password, hash);
  return hashed || is_windows(options) ? password : hash_password(password);
}

/// `cdrom` is another name of `ide2`.
void resolve_cdrom_alias(Options& options) {
  auto alias = options.extract("cdrom");
  if (!alias) return;
  std::string value = alias.mapped();
  if (value.find("media=") == std::string::npos) value += ",media=cdrom";
  options["ide2"] = normalise_option("ide2", value);
}

void check_format(const std::string& name, const std::string& value) {
  std::string problem;
  if (const auto* format = property_format_of(name);
      format != nullptr && !name.starts_with("net")) {
    problem = property_problem(name, value, *format);
  } else if (const auto* param = find_vm_option(name)) {
    problem = named_format_problem(param->format, value);
  }
  if (!problem.empty()) throw ApiError::parameter(name, "invalid format - " + problem);
  if (name == "cpu") {
    if (auto text = cpu_problem(value); !text.empty()) bad_format(name, text);
  }
}

/// Options that qemu-server's check_vm_modify_config_perm (API2/Qemu.pm) knows no right for.
const std::set<std::string, std::less<>> root_only{
    "affinity",  "amd-sev", "arch",          "args", "hookscript",         "hugepages",
    "intel-tdx", "ivshmem", "keephugepages", "lock", "spice_enhancements", "vmgenid"};

bool is_numbered(std::string_view name, std::string_view stem) {
  return name.starts_with(stem) && name.size() > stem.size() &&
         name.find_first_not_of("0123456789", stem.size()) == std::string_view::npos;
}

bool is_real_device(const std::string& name, const std::string& value) {
  if (is_numbered(name, "serial")) return value != "socket";
  if (!is_numbered(name, "usb")) return false;
  const Properties usb{value};
  const std::string host = usb.get("", usb.get("host"));
  return !host.empty() && boost::algorithm::to_lower_copy(host) != "spice";
}

}  // namespace

std::string normalise_option(const std::string& name, const std::string& value) {
  if (is_drive_option(name)) {
    const std::string drive = check_drive(name, value);
    check_format(name, value);
    return drive;
  }
  check_format(name, value);
  if (is_numbered(name, "net")) return complete_nic(name, value);
  if (name == "name") return check_vm_name(value);
  if (name == "tags") return sort_tags(value);
  if (name == "vmgenid" && value == "1") return new_uuid();
  if (name != "description" && value.find_first_of("\n\r") != std::string::npos) {
    throw ApiError{
        500, fmt::format("unable to parse value of '{}' - property contains a line feed", name)};
  }
  return value;
}

void check_root_only(const std::string& user, const std::string& name, const std::string& value) {
  if (user == "root@pam") return;
  if (root_only.contains(name) || is_numbered(name, "parallel")) {
    throw ApiError{500, fmt::format("only root can set '{}' config", name)};
  }
  if (is_real_device(name, value)) {
    throw ApiError{500, fmt::format("only root can set '{}' config for real devices", name)};
  }
  const Properties properties{value};
  if (is_numbered(name, "hostpci") && (properties.has("") || properties.has("host"))) {
    throw ApiError{500, fmt::format("only root can set '{}' config for non-mapped devices", name)};
  }
}

Options options_of(const Call& call, const Options& before) {
  Options options;
  std::map<std::string, std::string> errors;
  for (const auto& [name, values] : call.values) {
    const auto* param = find_vm_option(name);
    // A JSON null arrives as an empty text, and means the same as no value.
    if (param == nullptr || (values.back().empty() && name != "description")) continue;
    try {
      const std::string text =
          param->type == ParamType::boolean ? (call.flag(name) ? "1" : "0") : values.back();
      options[name] = normalise_option(name, text);
    } catch (const ApiError& error) {
      if (error.errors.empty()) throw;
      errors.insert(error.errors.begin(), error.errors.end());
    }
  }
  if (!errors.empty()) throw ApiError{400, "Parameter verification failed.", std::move(errors)};
  for (const auto& [name, value] : options) check_root_only(call.user, name, value);
  resolve_cdrom_alias(options);
  if (const auto password = options.find("cipassword"); password != options.end()) {
    const auto& system = options.contains("ostype") ? options : before;
    password->second = keep_password(password->second, system);
  }
  return options;
}

json::value option_to_json(const std::string& name, const std::string& value) {
  if (name == "cipassword") return hidden_password;
  const auto* param = find_vm_option(name);
  const bool number = param != nullptr
                          ? param->type == ParamType::integer || param->type == ParamType::boolean
                          : name == "snaptime";
  if (number) return number_option({{name, value}}, name, 0);
  return json::value(value);
}

}  // namespace px::node
