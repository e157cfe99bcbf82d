#include "node/route.hpp"

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

bool is_placeholder(std::string_view piece) {
  return piece.starts_with('{') && piece.ends_with('}');
}

/// The values of a path's placeholders when it fits. `{volume}` takes the rest, slashes included.
bool fits(std::string_view pattern, std::string_view path,
          std::map<std::string, std::string>& out) {
  const auto wanted = split_path(pattern);
  const auto given = split_path(path);
  out.clear();
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (i >= given.size()) return false;
    if (!is_placeholder(wanted[i])) {
      if (wanted[i] != given[i]) return false;
      continue;
    }
    const std::string name{wanted[i].substr(1, wanted[i].size() - 2)};
    if (name == "volume" && i + 1 == wanted.size()) {
      out[name] = percent_decode(std::string{given[i].data(), path.data() + path.size()});
      return true;
    }
    out[name] = percent_decode(given[i]);
  }
  return wanted.size() == given.size();
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

/// The server's own words for a value that does not fit, or nothing.
std::string problem(const Param& param, const std::string& value) {
  switch (param.type) {
    case ParamType::integer: {
      const auto number = to_integer(value);
      if (!number) return fmt::format("type check ('integer') failed - got '{}'", value);
      if (param.minimum && *number < *param.minimum) {
        return fmt::format("value must have a minimum value of {}", *param.minimum);
      }
      if (param.maximum && *number > *param.maximum) {
        return fmt::format("value must have a maximum value of {}", *param.maximum);
      }
      return {};
    }
    case ParamType::number: {
      double number = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
      if (value.empty() || error != std::errc{} || end != value.data() + value.size()) {
        return fmt::format("type check ('number') failed - got '{}'", value);
      }
      return {};
    }
    case ParamType::boolean:
      for (const auto* word : {"1", "0", "yes", "no", "on", "off", "true", "false"}) {
        if (value == word) return {};
      }
      return fmt::format("type check ('boolean') failed - got '{}'", value);
    case ParamType::string:
    case ParamType::array:
      break;
  }
  if (param.max_length && value.size() > *param.max_length) {
    // Characters count, not bytes.
    const auto characters = static_cast<std::size_t>(
        std::count_if(value.begin(), value.end(), [](char c) { return (c & 0xC0) != 0x80; }));
    if (characters > *param.max_length) {
      return fmt::format("value may only be {} characters long", *param.max_length);
    }
  }
  if (!param.one_of.empty() &&
      std::find(param.one_of.begin(), param.one_of.end(), value) == param.one_of.end()) {
    return fmt::format("value '{}' does not have a value in the enumeration '{}'", value,
                       fmt::join(param.one_of, ", "));
  }
  if (!param.pattern.empty() && !std::regex_match(value, std::regex{param.pattern})) {
    return "invalid format - value does not match the regex pattern";
  }
  return {};
}

const Param* find_param(const Route& route, std::string_view name) {
  const auto it = std::find_if(route.params.begin(), route.params.end(),
                               [&](const Param& param) { return names(param, name); });
  return it == route.params.end() ? nullptr : &*it;
}

std::string path_problem(const std::string& name, const std::string& value) {
  if (name == "vmid") {
    const auto number = to_integer(value);
    if (!number || *number < 100 || *number > 999'999'999) {
      return fmt::format("invalid format - value does not look like a valid VM ID\n");
    }
  }
  if (name == "node" &&
      !std::regex_match(value, std::regex{"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"})) {
    return fmt::format("invalid format - value does not look like a valid node name\n");
  }
  return {};
}

}  // namespace

ApiError ApiError::parameter(std::string name, std::string text) {
  return ApiError{400, "Parameter verification failed.", {{std::move(name), std::move(text)}}};
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
  return has(name) ? text(name) : std::move(otherwise);
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

const Route& Router::match(const std::string& method, const std::string& path,
                           std::map<std::string, std::string>& path_values) const {
  for (const auto& route : routes_) {
    if (route.method == method && fits(route.path, path, path_values)) return route;
  }
  throw ApiError{501, fmt::format("Method '{} {}' not implemented", method, path)};
}

void check_parameters(const Route& route, const std::map<std::string, std::string>& path_values,
                      std::map<std::string, std::vector<std::string>> given, Call& call) {
  std::map<std::string, std::string> errors;
  for (const auto& [name, value] : path_values) {
    if (auto text = path_problem(name, value); !text.empty()) errors[name] = text;
    if (const auto it = given.find(name); it != given.end() && it->second.back() != value) {
      errors[name] =
          fmt::format("duplicate parameter (already defined in URI) with conflicting values");
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
      errors[name] = fmt::format("type check ('string') failed - got ARRAY");
    } else {
      for (const auto& value : list) {
        if (auto text = problem(*param, value); !text.empty()) errors[name] = text;
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
