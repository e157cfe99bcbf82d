#include "pve/ids.hpp"

#include "support/error.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace px::pve {

namespace {

constexpr std::int64_t first_vmid = 100;
constexpr std::int64_t last_vmid = 999'999'999;
constexpr std::string_view vmid_rule = "a VMID is a number of 100 to 999999999";
constexpr std::string_view node_rule =
    "a node's name is 1 to 63 letters, digits and inner hyphens, without a domain";
constexpr std::string_view storage_rule =
    "a storage's id begins with a letter, goes on with letters, digits, '-', '_' or '.', and ends "
    "with a letter or digit";
constexpr std::string_view volume_rule = "a volume is STORAGE:NAME";
constexpr std::string_view sdn_rule = "it has 2 to 8 letters and digits and begins with a letter";
constexpr std::string_view upid_rule =
    "a task's id is UPID:NODE:PID:PSTART:STARTTIME:TYPE:ID:USER: with hexadecimal numbers";

// The C library's versions depend on the locale.
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alphanumeric(char c) {
  return is_letter(c) || is_digit(c);
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_visible(char c) {
  return c > ' ' && c != 0x7f;
}

bool is_hex_number(std::string_view text, std::size_t shortest, std::size_t longest) {
  return text.size() >= shortest && text.size() <= longest && std::ranges::all_of(text, is_hex);
}

bool is_node_name(std::string_view text) {
  return !text.empty() && text.size() <= 63 && is_alphanumeric(text.front()) &&
         is_alphanumeric(text.back()) &&
         std::ranges::all_of(text, [](char c) { return is_alphanumeric(c) || c == '-'; });
}

bool is_storage_id(std::string_view text) {
  return text.size() >= 2 && is_letter(text.front()) && is_alphanumeric(text.back()) &&
         std::ranges::all_of(
             text, [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

bool is_sdn_id(std::string_view text) {
  return text.size() >= 2 && text.size() <= 8 && is_letter(text.front()) &&
         std::ranges::all_of(text, is_alphanumeric);
}

}  // namespace

Vmid Vmid::parse(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || text.front() == '0' ||
      number < first_vmid || number > last_vmid) {
    throw_bad_input("vmid", text, vmid_rule);
  }
  return Vmid{static_cast<std::uint32_t>(number)};
}

Vmid Vmid::from_number(std::int64_t number) {
  return parse(std::to_string(number));
}

NodeName NodeName::parse(std::string_view text) {
  if (!is_node_name(text)) throw_bad_input("node", text, node_rule);
  return NodeName{std::string{text}};
}

StorageId StorageId::parse(std::string_view text) {
  if (!is_storage_id(text)) throw_bad_input("storage", text, storage_rule);
  return StorageId{std::string{text}};
}

VolumeId VolumeId::parse(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos || colon + 1 == text.size() ||
      !is_storage_id(text.substr(0, colon)) ||
      !std::ranges::all_of(text.substr(colon + 1), is_visible)) {
    throw_bad_input("volume", text, volume_rule);
  }
  return VolumeId{StorageId::parse(text.substr(0, colon)), std::string{text}};
}

VolumeId VolumeId::of(const StorageId& storage, std::string_view rest) {
  return parse(storage.text() + ":" + std::string{rest});
}

Upid Upid::parse(std::string_view text) {
  // UPID, node, pid, pstart, starttime, type, id, user, nothing behind the last colon.
  std::array<std::string_view, 9> part;
  std::size_t count = 0;
  for (std::string_view rest = text; count < part.size(); ++count) {
    const auto colon = rest.find(':');
    part[count] = rest.substr(0, colon);
    if (colon == std::string_view::npos) {
      ++count;
      break;
    }
    rest.remove_prefix(colon + 1);
  }
  const bool is_whole = count == part.size() && part[8].empty() && text.ends_with(':');
  if (!is_whole || part[0] != "UPID" || !is_node_name(part[1]) || !is_hex_number(part[2], 8, 8) ||
      // Grows past eight digits after 497 days of uptime.
      !is_hex_number(part[3], 8, 9) || !is_hex_number(part[4], 8, 8) || part[5].empty() ||
      part[7].empty() || !std::ranges::all_of(text, is_visible)) {
    throw_bad_input("upid", text, upid_rule);
  }
  Upid upid{NodeName::parse(part[1])};
  upid.text_ = text;
  std::from_chars(part[3].data(), part[3].data() + part[3].size(), upid.start_ticks_, 16);
  std::from_chars(part[4].data(), part[4].data() + part[4].size(), upid.start_time_, 16);
  upid.type_ = part[5];
  upid.id_ = part[6];
  upid.user_ = part[7];
  return upid;
}

template <>
ZoneId ZoneId::parse(std::string_view text) {
  if (!is_sdn_id(text)) throw_bad_input("zone", text, sdn_rule);
  return ZoneId{std::string{text}};
}

template <>
VnetId VnetId::parse(std::string_view text) {
  if (!is_sdn_id(text)) throw_bad_input("vnet", text, sdn_rule);
  return VnetId{std::string{text}};
}

}  // namespace px::pve
