#include "node/route.hpp"

#include "node/firewall/firewall_syntax.hpp"
#include "node/network/address.hpp"
#include "support/bytes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <regex>

namespace px::node {

namespace {

std::vector<std::string_view> split_path(std::string_view path) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at < path.size();) {
    const auto slash = std::min(path.find('/', at), path.size());
    if (slash > at) out.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  return out;
}

/// The values of a path's placeholders when it fits. `{volume}` takes the rest, slashes included.
/// A broken escape fits nothing.
bool fits(const std::vector<std::string>& wanted, const std::vector<std::string_view>& given,
          std::map<std::string, std::string>& out) {
  if (given.size() < wanted.size()) return false;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!wanted[i].starts_with('{') && wanted[i] != given[i]) return false;
  }
  const bool open_end = !wanted.empty() && wanted.back() == "{volume}";
  if (!open_end && given.size() != wanted.size()) return false;
  out.clear();
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!wanted[i].starts_with('{')) continue;
    const bool rest = open_end && i + 1 == wanted.size();
    // All segments are views of one path.
    const std::string_view last = rest ? given.back() : given[i];
    const auto length = static_cast<std::size_t>(last.data() - given[i].data()) + last.size();
    try {
      out[wanted[i].substr(1, wanted[i].size() - 2)] = percent_decode(std::string_view{
          given[i].data(), length});  // NOLINT(bugprone-suspicious-stringview-data-usage)
    } catch (const Error&) {
      return false;
    }
  }
  return true;
}

/// `net[n]` stands for net0, net1...
bool names(const Param& param, std::string_view name) {
  if (!param.name.ends_with("[n]")) return param.name == name;
  const auto stem = std::string_view{param.name}.substr(0, param.name.size() - 3);
  return name.starts_with(stem) && name.size() > stem.size() &&
         std::all_of(name.begin() + static_cast<std::ptrdiff_t>(stem.size()), name.end(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<std::int64_t> to_integer(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// libstdc++ matches a `.*` by recursion: a value of many kilobytes would take the whole stack.
constexpr std::size_t longest_match = 8192;

/// Compiled once a pattern: compiling costs more than a whole request.
bool matches(const std::string& value, const std::string& pattern) {
  if (value.size() > longest_match) return false;
  thread_local std::map<std::string, std::regex> compiled;
  auto it = compiled.find(pattern);
  if (it == compiled.end()) it = compiled.emplace(pattern, std::regex{pattern}).first;
  return std::regex_match(value, it->second);
}

/// The same for the formats of networks (pve-common JSONSchema.pm, pve-network SubnetPlugin.pm).
std::string network_format_problem(const std::string& format, const std::string& value) {
  if (format == "ip") {
    if (parse_ip(value)) return {};
    return "value does not look like a valid IP address\n";
  }
  if (format == "mac-addr") {
    if (matches(value, "[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}")) return {};
    return "value does not look like a valid unicast MAC address\n";
  }
  if (format == "pve-sdn-subnet-id") {
    // A subnet is made by its CIDR and named by ZONE-ADDRESS-PREFIX afterwards.
    const auto prefix = value.rfind('-');
    const auto address = value.find('-') + 1;
    const bool is_id = value.find('/') == std::string::npos && prefix + 1 > address;
    const auto cidr = is_id ? fmt::format("{}/{}", value.substr(address, prefix - address),
                                          value.substr(prefix + 1))
                            : value;
    if (Cidr::parse(cidr)) return {};
    return "value does not look like a valid CIDR network\n";
  }
  if (format == "pve-sdn-dhcp-range") {
    for (const auto* key : {"start-address", "end-address"}) {
      if (("," + value).find(fmt::format(",{}=", key)) != std::string::npos) continue;
      return fmt::format("format error\n{}: property is missing and it is not optional\n", key);
    }
  }
  return firewall_format_problem(format, value);
}

/// What a named format of the schema says about a value, or nothing (pve-common JSONSchema.pm,
/// pve-storage and pve-access-control; texts from exchanges 02 and 03).
std::string format_problem(const std::string& format, const std::string& value) {
  if (format == "pve-vmid") {
    if (matches(value, "[1-9][0-9]{2,8}")) return {};
    return "value does not look like a valid VM ID\n";
  }
  if (format == "pve-node") {
    if (matches(value, "[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?")) return {};
    return "value does not look like a valid node name\n";
  }
  if (format == "pve-storage-id") {
    if (matches(value, "[a-zA-Z][a-zA-Z0-9_.-]*[a-zA-Z0-9]")) return {};
    return fmt::format("storage ID '{}' contains illegal characters\n", value);
  }
  if (format == "pve-poolid") {
    if (matches(value, R"([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2})")) return {};
    return fmt::format("pool name '{}' contains invalid characters\n", value);
  }
  if (format == "pve-storage-content") {
    if (matches(value, "images|rootdir|vztmpl|iso|backup|snippets|import|none")) return {};
    return fmt::format("invalid content type '{}'\n", value);
  }
  return network_format_problem(format, value);
}

std::optional<double> to_number(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string type_problem(const Param& param, const std::string& value) {
  switch (param.type) {
    case ParamType::integer:
      if (to_integer(value)) return {};
      return fmt::format("type check ('integer') failed - got '{}'", value);
    case ParamType::number:
      if (to_number(value)) return {};
      return fmt::format("type check ('number') failed - got '{}'", value);
    case ParamType::boolean:
      if (matches(value, "1|on|yes|true|0|off|no|false")) return {};
      return fmt::format("type check ('boolean') failed - got '{}'", value);
    case ParamType::string:
    case ParamType::array:
      return {};
  }
  return {};
}

/// Characters, not bytes.
std::size_t length_of(const std::string& value) {
  return static_cast<std::size_t>(
      std::count_if(value.begin(), value.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string range_problem(const Param& param, double number) {
  if (param.minimum && number < static_cast<double>(*param.minimum)) {
    return fmt::format("value must have a minimum value of {}", *param.minimum);
  }
  if (param.maximum && number > static_cast<double>(*param.maximum)) {
    return fmt::format("value must have a maximum value of {}", *param.maximum);
  }
  return {};
}

const Param* find_param(const Route& route, std::string_view name) {
  const auto it = std::find_if(route.params.begin(), route.params.end(),
                               [&](const Param& param) { return names(param, name); });
  return it == route.params.end() ? nullptr : &*it;
}

/// What stands in a path is checked by its name.
std::string path_problem(const std::string& name, const std::string& value) {
  if (name == "vmid") {
    return value_problem({.name = name, .type = ParamType::integer, .format = "pve-vmid"}, value);
  }
  if (name == "node" || name == "storage") {
    return value_problem({.name = name, .format = name == "node" ? "pve-node" : "pve-storage-id"},
                         value);
  }
  if (name == "poolid") return value_problem({.name = name, .format = "pve-poolid"}, value);
  if (name == "zone" || name == "vnet") {
    return value_problem(
        {.name = name, .max_length = 8, .pattern = "[a-zA-Z][a-zA-Z0-9]*[a-zA-Z0-9]"}, value);
  }
  if (name == "subnet") return value_problem({.name = name, .format = "pve-sdn-subnet-id"}, value);
  if (name == "group") {
    return value_problem({.name = name, .max_length = 18, .pattern = "[A-Za-z][A-Za-z0-9\\-_]+"},
                         value);
  }
  if (name == "name") {
    return value_problem({.name = name, .max_length = 64, .pattern = "[A-Za-z][A-Za-z0-9\\-_]+"},
                         value);
  }
  if (name == "pos") {
    return value_problem({.name = name, .type = ParamType::integer, .minimum = 0}, value);
  }
  if (name == "cidr") return value_problem({.name = name, .format = "IPorCIDRorAlias"}, value);
  if (name == "tokenid")
    return value_problem({.name = name, .pattern = "[A-Za-z][A-Za-z0-9._-]+"}, value);
  return {};
}

}  // namespace

ApiError ApiError::parameter(std::string name, std::string text) {
  return ApiError{400, "Parameter verification failed.", {{std::move(name), std::move(text)}}};
}

std::string value_problem(const Param& param, const std::string& value) {
  if (auto text = type_problem(param, value); !text.empty()) return text;
  if (auto text = format_problem(param.format, value); !text.empty()) {
    return "invalid format - " + text;
  }
  if (param.type == ParamType::integer || param.type == ParamType::number) {
    if (auto text = range_problem(param, *to_number(value)); !text.empty()) return text;
  }
  if (param.max_length && value.size() > *param.max_length &&
      length_of(value) > *param.max_length) {
    return fmt::format("value may only be {} characters long", *param.max_length);
  }
  if (!param.one_of.empty() &&
      std::find(param.one_of.begin(), param.one_of.end(), value) == param.one_of.end()) {
    return fmt::format("value '{}' does not have a value in the enumeration '{}'", value,
                       fmt::join(param.one_of, ", "));
  }
  if (!param.pattern.empty() && !matches(value, param.pattern)) {
    return "value does not match the regex pattern";
  }
  return {};
}

bool Call::has(std::string_view name) const {
  return values.contains(std::string{name});
}

const std::string& Call::text(std::string_view name) const {
  const auto it = values.find(std::string{name});
  if (it == values.end() || it->second.empty()) {
    throw ApiError::parameter(std::string{name}, "property is missing and it is not optional");
  }
  return it->second.back();
}

std::string Call::text_or(std::string_view name, std::string otherwise) const {
  if (has(name)) return text(name);
  return otherwise;
}

std::int64_t Call::number(std::string_view name) const {
  const auto number = to_integer(text(name));
  if (!number) throw ApiError::parameter(std::string{name}, "type check ('integer') failed");
  return *number;
}

std::int64_t Call::number_or(std::string_view name, std::int64_t otherwise) const {
  return has(name) ? number(name) : otherwise;
}

bool Call::flag(std::string_view name, bool otherwise) const {
  if (!has(name)) return otherwise;
  const auto& word = text(name);
  return word == "1" || word == "yes" || word == "on" || word == "true";
}

std::vector<std::string> Call::list(std::string_view name) const {
  const auto it = values.find(std::string{name});
  return it == values.end() ? std::vector<std::string>{} : it->second;
}

std::vector<std::string> Call::words(std::string_view name) const {
  std::vector<std::string> out;
  std::string word;
  for (const char c : text_or(name, "") + ",") {
    if (c != ',' && c != ';' && c != ' ') {
      word += c;
    } else if (!word.empty()) {
      out.push_back(std::exchange(word, {}));
    }
  }
  return out;
}

void Router::add(Route route) {
  std::vector<std::string> pattern;
  for (const auto piece : split_path(route.path)) pattern.emplace_back(piece);
  patterns_.push_back(std::move(pattern));
  routes_.push_back(std::move(route));
}

const Route* Router::find(std::string_view method, std::string_view path,
                          std::map<std::string, std::string>& path_values) const {
  const auto given = split_path(path);
  for (std::size_t i = 0; i < routes_.size(); ++i) {
    if (routes_[i].method == method && fits(patterns_[i], given, path_values)) return &routes_[i];
  }
  path_values.clear();
  return nullptr;
}

void check_parameters(const Route& route, const std::map<std::string, std::string>& path_values,
                      std::map<std::string, std::vector<std::string>> given, Call& call) {
  std::map<std::string, std::string> errors;
  for (const auto& [name, value] : path_values) {
    if (auto text = path_problem(name, value); !text.empty()) errors[name] = text;
    if (const auto it = given.find(name); it != given.end() && it->second.back() != value) {
      errors[name] = "duplicate parameter (already defined in URI) with conflicting values!";
    }
    given[name] = {value};
  }
  for (const auto& [name, list] : given) {
    if (path_values.contains(name)) continue;
    const Param* param = find_param(route, name);
    if (param == nullptr) {
      errors[name] =
          "property is not defined in schema and the schema does not allow additional properties";
    } else if (param->type != ParamType::array && list.size() > 1) {
      errors[name] = "type check ('string') failed - got ARRAY";
    } else {
      for (const auto& value : list) {
        if (auto text = value_problem(*param, value); !text.empty()) errors[name] = text;
      }
      if (!param->needs.empty() && !given.contains(param->needs)) {
        errors[param->needs] = fmt::format("missing property required by '{}'", name);
      }
    }
  }
  for (const auto& param : route.params) {
    if (param.required && !given.contains(param.name)) {
      errors[param.name] = "property is missing and it is not optional";
    }
  }
  if (!errors.empty()) throw ApiError{400, "Parameter verification failed.", std::move(errors)};
  call.values = std::move(given);
}

}  // namespace px::node
