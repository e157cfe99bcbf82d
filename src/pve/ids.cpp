#include "pve/ids.hpp"

#include "support/error.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace px::pve {

namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::int64_t parse_hex(std::string_view text, std::size_t least, std::size_t most,
                       std::string_view upid) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  if (text.size() < least || text.size() > most || error != std::errc{} ||
      end != text.data() + text.size() || number < 0) {
    throw_bad_input("UPID", upid, "its numbers are hexadecimal, of 8 digits or a few more");
  }
  return number;
}

}  // namespace

Vmid Vmid::parse(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) {
    throw_bad_input("VMID", text, "it is a whole number in 100..999999999");
  }
  return of(number);
}

Vmid Vmid::of(std::int64_t number) {
  if (number < least || number > most) {
    throw_bad_input("VMID", std::to_string(number), "it lies in 100..999999999");
  }
  return Vmid{static_cast<std::uint32_t>(number)};
}

NodeName NodeName::parse(std::string_view text) {
  const auto inner = [](char c) { return is_letter(c) || is_digit(c) || c == '-'; };
  if (text.empty() || text.size() > 63 || !std::all_of(text.begin(), text.end(), inner) ||
      text.front() == '-' || text.back() == '-') {
    throw_bad_input("node", text, "it is 1..63 letters, digits and -, with no - at an end");
  }
  return NodeName{text};
}

StorageId StorageId::parse(std::string_view text) {
  const auto inner = [](char c) {
    return is_letter(c) || is_digit(c) || c == '-' || c == '_' || c == '.';
  };
  if (text.size() < 2 || text.size() > 100 || !is_letter(text.front()) ||
      !std::all_of(text.begin(), text.end(), inner) ||
      !(is_letter(text.back()) || is_digit(text.back()))) {
    throw_bad_input(
        "storage", text,
        "it is a letter, then letters, digits, -, _ and ., ending in a letter or digit");
  }
  return StorageId{text};
}

Upid Upid::parse(std::string_view text) {
  std::array<std::string_view, 9> fields;
  std::size_t count = 0;
  for (std::size_t at = 0; at <= text.size() && count < fields.size(); ++count) {
    const auto colon = std::min(text.find(':', at), text.size());
    fields[count] = text.substr(at, colon - at);
    at = colon + 1;
  }
  const bool whole = count == fields.size() && text.ends_with(':') &&
                     std::count(text.begin(), text.end(), ':') == 8 && fields[0] == "UPID" &&
                     !fields[5].empty() && !fields[7].empty();
  if (!whole) {
    throw_bad_input("UPID", text, "it is UPID:NODE:PID:PSTART:STARTTIME:TYPE:ID:USER:");
  }
  Upid out{NodeName::parse(fields[1])};
  parse_hex(fields[2], 8, 8, text);
  parse_hex(fields[3], 8, 9, text);
  out.started_ = parse_hex(fields[4], 8, 8, text);
  out.text_ = text;
  out.type_ = fields[5];
  out.id_ = fields[6];
  out.user_ = fields[7];
  return out;
}

}  // namespace px::pve
