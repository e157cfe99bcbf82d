#include "node/vm/vm_config.hpp"

#include "support/bytes.hpp"
#include "support/error.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace px::node {

namespace {

constexpr std::string_view cloud_init_section = "[special:cloudinit]";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    if (end > 0) out.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

/// A value is one line: line feeds, and the `%` that marks them, are escaped.
std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '%' || static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

void print_section(std::string& out, const Options& options) {
  for (const auto& [name, value] : options) out += fmt::format("{}: {}\n", name, escape(value));
}

struct DriveBus {
  std::string_view name;
  int count;
};
constexpr std::array<DriveBus, 6> drive_buses{
    {{"ide", 4}, {"sata", 6}, {"scsi", 31}, {"virtio", 16}, {"efidisk", 1}, {"tpmstate", 1}}};

/// Splits `scsi10` into `scsi` and 10; -1 without a number.
std::pair<std::string_view, int> split_number(std::string_view name) {
  auto letters = name.size();
  while (letters > 0 && is_digit(name[letters - 1])) --letters;
  int number = -1;
  std::from_chars(name.data() + letters, name.data() + name.size(), number);
  return {name.substr(0, letters), number};
}

}  // namespace

VmConfig VmConfig::parse(std::string_view text) {
  VmConfig config;
  Options* section = &config.current;
  int number = 0;
  for (const auto line : split(text, '\n')) {
    ++number;
    if (line == "[PENDING]") {
      section = &config.pending;
    } else if (line == cloud_init_section) {
      section = &config.cloud_init;
    } else if (line.front() == '[' && line.back() == ']') {
      section = &config.snapshots[std::string{line.substr(1, line.size() - 2)}];
    } else if (const auto colon = line.find(": "); colon != std::string_view::npos) {
      (*section)[std::string{line.substr(0, colon)}] = percent_decode(line.substr(colon + 2));
    } else {
      throw_bad_input(fmt::format("configuration line {}", number), line, "it is NAME: VALUE");
    }
  }
  if (const auto removed = config.pending.extract("delete")) {
    for (const auto name : split(removed.mapped(), ',')) config.pending_delete.emplace_back(name);
  }
  return config;
}

std::string VmConfig::print() const {
  std::string out;
  print_section(out, current);
  if (has_pending()) {
    out += "[PENDING]\n";
    if (!pending_delete.empty()) {
      out += fmt::format("delete: {}\n", fmt::join(pending_delete, ","));
    }
    print_section(out, pending);
  }
  if (!cloud_init.empty()) {
    out += fmt::format("{}\n", cloud_init_section);
    print_section(out, cloud_init);
  }
  for (const auto& [name, options] : snapshots) {
    out += fmt::format("[{}]\n", name);
    print_section(out, options);
  }
  return out;
}

std::string VmConfig::digest() const {
  return sha256_hex(print()).substr(0, 40);
}

Options VmConfig::after_pending() const {
  Options out = current;
  for (const auto& name : pending_delete) out.erase(name);
  for (const auto& [name, value] : pending) out[name] = value;
  return out;
}

std::string option_or(const Options& options, const std::string& name, std::string otherwise) {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : found->second;
}

bool is_windows(const Options& options) {
  const std::string system = option_or(options, "ostype");
  return system.starts_with('w');
}

std::int64_t number_option(const Options& options, const std::string& name,
                           std::int64_t otherwise) {
  const auto found = options.find(name);
  if (found == options.end()) return otherwise;
  const std::string& text = found->second;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) {
    throw_bad_input(name, text, "it is a whole number");
  }
  return number;
}

Properties::Properties(std::string_view text) {
  for (const auto item : split(text, ',')) {
    const auto equals = item.find('=');
    if (equals == std::string_view::npos) {
      set("", std::string{item});
    } else {
      set(item.substr(0, equals), std::string{item.substr(equals + 1)});
    }
  }
}

std::string Properties::get(std::string_view key, std::string otherwise) const {
  for (const auto& [name, value] : items_) {
    if (name == key) return value;
  }
  return otherwise;
}

bool Properties::has(std::string_view key) const {
  return std::any_of(items_.begin(), items_.end(),
                     [key](const auto& item) { return item.first == key; });
}

bool Properties::flag(std::string_view key) const {
  const std::string value = get(key);
  return value == "1" || value == "on" || value == "yes" || value == "true";
}

void Properties::set(std::string_view key, std::string value) {
  for (auto& [name, old] : items_) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  items_.emplace_back(key, std::move(value));
}

void Properties::erase(std::string_view key) {
  std::erase_if(items_, [key](const auto& item) { return item.first == key; });
}

std::string Properties::print() const {
  auto sorted = items_;
  std::sort(sorted.begin(), sorted.end());
  std::string out;
  for (const auto& [name, value] : sorted) {
    if (!out.empty()) out += ',';
    if (!name.empty()) out += name + '=';
    out += value;
  }
  return out;
}

Drive Drive::parse(const std::string& name, std::string_view text) {
  Drive drive{name, {}, Properties{text}};
  drive.volume = drive.properties.get("", drive.properties.get("file"));
  drive.properties.erase("");
  drive.properties.erase("file");
  // A virtio-blk CD-ROM does not exist (pve-facts section 10a).
  if (drive.volume.empty() || (drive.bus() == "virtio" && drive.is_cdrom()) ||
      (drive.is_empty() && !drive.is_cdrom())) {
    throw_bad_input(name, text, "unable to parse drive options");
  }
  return drive;
}

std::string Drive::print() const {
  const std::string rest = properties.print();
  return rest.empty() ? volume : volume + "," + rest;
}

std::string Drive::bus() const {
  return std::string{split_number(name).first};
}

int Drive::index() const {
  return split_number(name).second;
}

bool is_drive_option(std::string_view name) {
  const auto [letters, number] = split_number(name);
  return std::any_of(drive_buses.begin(), drive_buses.end(),
                     [&, l = letters, n = number](const DriveBus& bus) {
                       return bus.name == l && n >= 0 && n < bus.count;
                     });
}

std::vector<Drive> drives_of(const Options& options) {
  std::vector<Drive> out;
  for (const auto& [name, text] : options) {
    if (is_drive_option(name)) out.push_back(Drive::parse(name, text));
  }
  std::sort(out.begin(), out.end(), [](const Drive& left, const Drive& right) {
    return natural_less(left.name, right.name);
  });
  return out;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  const std::string_view unit{end, static_cast<std::size_t>(text.data() + text.size() - end)};
  if (error != std::errc{} || number < 0 || unit.size() > 1) return std::nullopt;
  if (!unit.empty()) {
    const auto power = std::string_view{"KMGT"}.find(unit.front());
    if (power == std::string_view::npos) return std::nullopt;
    number *= static_cast<double>(std::uint64_t{1} << (10 * (power + 1)));
  }
  // A double holds whole bytes up to 8 PiB.
  constexpr double largest = 1LL << 53;
  if (number > largest) return std::nullopt;
  return static_cast<std::uint64_t>(number);
}

std::string print_size(std::uint64_t bytes) {
  std::string_view unit;
  for (const std::string_view larger : {"K", "M", "G", "T"}) {
    if (bytes == 0 || bytes % 1024 != 0) break;
    bytes /= 1024;
    unit = larger;
  }
  return fmt::format("{}{}", bytes, unit);
}

bool natural_less(std::string_view left, std::string_view right) {
  const auto a = split_number(left);
  const auto b = split_number(right);
  return a < b;
}

}  // namespace px::node
