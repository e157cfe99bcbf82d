#include "node/vm/option_format.hpp"

#include "node/network/address.hpp"
#include "node/vm/vm_config.hpp"

#include <boost/algorithm/string/classification.hpp>
#include <boost/algorithm/string/split.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <functional>
#include <regex>
#include <set>

namespace px::node {

namespace {

/// No value of a named format is longer. (std::regex needs stack for each character.)
constexpr std::size_t longest_value = 1000;

bool fits_pattern(const std::string& value, const char* pattern) {
  return value.size() <= longest_value && std::regex_match(value, std::regex{pattern});
}

std::vector<std::string> split_words(const std::string& text, const char* separators) {
  std::vector<std::string> words;
  boost::split(words, text, boost::is_any_of(separators), boost::token_compress_on);
  std::erase(words, "");
  return words;
}

std::string volume_problem(const std::string& value) {
  if (fits_pattern(value, "[a-zA-Z][a-zA-Z0-9_.-]*[a-zA-Z0-9]:.+")) return {};
  return fmt::format("unable to parse volume ID '{}'\n", value);
}

std::string path_or_volume_problem(const std::string& value) {
  return value.starts_with('/') ? "" : volume_problem(value);
}

std::string urlencoded_problem(const std::string& value) {
  const bool encoded = std::all_of(value.begin(), value.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view{"-%_.!~*'()"}.find(static_cast<char>(c)) != std::string_view::npos;
  });
  return encoded ? "" : fmt::format("invalid urlencoded string: {}\n", value);
}

/// A check whose refusal is `text`, with the value in it.
std::function<std::string(const std::string&)> by_pattern(const char* pattern, const char* text) {
  return [pattern, text](const std::string& value) {
    return fits_pattern(value, pattern) ? "" : fmt::format(fmt::runtime(text), value);
  };
}

/// `dhcp`, `manual`, or an address with its prefix.
std::string ip_config_problem(const std::string& value, bool v6) {
  if (value == "dhcp" || value == "manual" || (v6 && value == "auto")) return {};
  const auto cidr = Cidr::parse(value);
  if (cidr && cidr->is_v4() != v6) return {};
  return fmt::format("value does not look like a valid ipv{} network configuration\n", v6 ? 6 : 4);
}

std::string ip_problem(const std::string& value, bool v6) {
  const auto ip = parse_ip(value);
  if (ip && ip->is_v6() == v6) return {};
  return fmt::format("value does not look like a valid IPv{} address\n", v6 ? 6 : 4);
}

std::string addresses_problem(const std::string& value) {
  for (const auto& word : split_words(value, " ,;\t\n")) {
    if (!parse_ip(word) && !fits_pattern(word, "[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?")) {
      return fmt::format("value does not look like a valid address: {}\n", word);
    }
  }
  return {};
}

std::string hotplug_problem(const std::string& value) {
  static const std::set<std::string> features{"network", "disk", "cpu",
                                              "memory",  "usb",  "cloudinit"};
  if (value == "0" || value == "1") return {};
  for (const auto& word : split_words(value, " ,;\t\n")) {
    if (!features.contains(word)) return fmt::format("invalid hotplug feature '{}'\n", word);
  }
  return {};
}

std::string boot_order_problem(const std::string& value) {
  for (const auto& word : split_words(value, ";")) {
    const bool disk = is_drive_option(word) && word != "efidisk0" && word != "tpmstate0";
    if (!disk && !fits_pattern(word, "(net|usb|hostpci)[0-9]+")) {
      return fmt::format("invalid boot device '{}'\n", word);
    }
  }
  return {};
}

/// An entry of a property string, its key as the format spells it.
struct PropertyEntry {
  std::string key;
  std::string value;
};

/// Splits `text`; what keeps it from being split goes to `problem`.
std::vector<PropertyEntry> entries_of(const std::string& text, const PropertyFormat& format,
                                      std::string& problem) {
  std::vector<PropertyEntry> entries;
  std::set<std::string> seen;
  for (const auto& word : split_words(text, ",")) {
    const auto equals = word.find('=');
    PropertyEntry entry{format.default_key, word};
    if (equals == 0 || equals + 1 == word.size()) {
      problem = "missing key in comma-separated list property\n";
    } else if (equals != std::string::npos) {
      entry = {word.substr(0, equals), word.substr(equals + 1)};
      if (const auto alias = format.aliases.find(entry.key); alias != format.aliases.end()) {
        entry.key = alias->second;
      }
    } else if (entry.key.empty()) {
      problem = "value without key, but schema does not define a default key\n";
    }
    if (!problem.empty()) break;
    if (!seen.insert(entry.key).second) {
      problem = fmt::format("duplicate key in comma-separated list property: {}\n", entry.key);
      break;
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

/// As value_problem(), which does not know the formats of VM options.
std::string entry_problem(const Param& key, const std::string& value) {
  if (value.size() > longest_value) {
    return fmt::format("value may only be {} characters long", longest_value);
  }
  if (auto text = named_format_problem(key.format, value); !text.empty()) {
    return "invalid format - " + text;
  }
  return value_problem(key, value);
}

}  // namespace

std::string named_format_problem(const std::string& format, const std::string& value) {
  using Check = std::function<std::string(const std::string&)>;
  static const std::map<std::string, Check> checks{
      {"pve-volume-id", volume_problem},
      {"pve-volume-id-or-absolute-path", path_or_volume_problem},
      {"pve-volume-id-or-qm-path",
       [](const std::string& text) {
         return text == "none" || text == "cdrom" ? "" : path_or_volume_problem(text);
       }},
      {"urlencoded", urlencoded_problem},
      {"disk-size",
       by_pattern(R"(\d+(\.\d+)?[KMGT]?)", "value does not look like a valid disk size: {}\n")},
      {"pve-configid", by_pattern("[A-Za-z][A-Za-z0-9_-]+", "invalid configuration ID '{}'\n")},
      {"pve-bridge-id", by_pattern("[-_.a-zA-Z0-9]+", "invalid bridge ID '{}'\n")},
      {"pve-cpuset", by_pattern(R"(\d+(-\d+)?(,\d+(-\d+)?)*)", "unable to parse cpuset option\n")},
      {"pve-startup-order",
       by_pattern(R"(((order=)?\d+|up=\d+|down=\d+)(,((order=)?\d+|up=\d+|down=\d+))*)",
                  "unable to parse startup options\n")},
      {"ipv4", [](const std::string& text) { return ip_problem(text, false); }},
      {"ipv6", [](const std::string& text) { return ip_problem(text, true); }},
      {"pve-ipv4-config", [](const std::string& text) { return ip_config_problem(text, false); }},
      {"pve-ipv6-config", [](const std::string& text) { return ip_config_problem(text, true); }},
      {"address-list", addresses_problem},
      {"pve-hotplug-features", hotplug_problem},
      {"pve-qm-bootdev-list", boot_order_problem},
  };
  const auto check = checks.find(format);
  return check == checks.end() ? "" : check->second(value);
}

std::string property_problem(const std::string& name, const std::string& text,
                             const PropertyFormat& format) {
  std::string problem;
  const auto entries = entries_of(text, format, problem);
  if (!problem.empty()) return problem;
  std::string errors;
  const auto add = [&](const std::string& key, const std::string& what) {
    errors += fmt::format("{}.{}: {}\n", name, key, what);
  };
  for (const auto& entry : entries) {
    const auto param =
        std::find_if(format.keys.begin(), format.keys.end(),
                     [&entry](const Param& known) { return known.name == entry.key; });
    if (param == format.keys.end()) {
      return fmt::format("invalid key in comma-separated list property: {}\n", entry.key);
    }
    if (auto what = entry_problem(*param, entry.value); !what.empty()) add(entry.key, what);
  }
  for (const auto& param : format.keys) {
    const auto given = [&entries](const std::string& key) {
      return std::any_of(entries.begin(), entries.end(),
                         [&key](const PropertyEntry& entry) { return entry.key == key; });
    };
    if (param.required && !given(param.name)) {
      add(param.name, "property is missing and it is not optional");
    }
    if (!param.needs.empty() && given(param.name) && !given(param.needs)) {
      add(param.needs,
          fmt::format("missing property - '{}.{}' requires this property", name, param.name));
    }
  }
  return errors.empty() ? "" : "format error\n" + errors;
}

}  // namespace px::node
