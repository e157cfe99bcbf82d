#include "image/manifest.hpp"

#include "support/error.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/algorithm/string/trim.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace px::image {

namespace {

struct Algorithm {
  HashKind kind;
  std::string_view name;
  std::size_t digits;
};

constexpr std::array algorithms{Algorithm{HashKind::sha1, "SHA1", 40},
                                Algorithm{HashKind::sha256, "SHA256", 64},
                                Algorithm{HashKind::sha512, "SHA512", 128}};

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// `SHA256(NAME)= HEX`, with or without blanks between. A name may hold brackets.
ManifestEntry parse_line(const std::string& line, const std::string& where) {
  const auto equals = line.rfind('=');
  const auto open = line.find('(');
  const auto close = equals == std::string::npos ? equals : line.rfind(')', equals);
  if (close == std::string::npos || open == std::string::npos || open >= close) {
    throw_bad_input(where, line, "a line looks like `SHA256(disk1.vmdk)= 6ae3...`");
  }
  const auto named = boost::trim_copy(line.substr(0, open));
  const auto plain = boost::to_upper_copy(named);
  const auto* algorithm = std::ranges::find_if(algorithms, [&](const Algorithm& known) {
    // `SHA-256` is found, too.
    return plain == known.name || plain == fmt::format("SHA-{}", known.name.substr(3));
  });
  if (algorithm == algorithms.end()) {
    throw_bad_input(where, named, "the algorithms of manifests are SHA1, SHA256 and SHA512");
  }
  auto hex = boost::to_lower_copy(boost::trim_copy(line.substr(equals + 1)));
  if (hex.size() != algorithm->digits || !is_hex(hex)) {
    throw_bad_input(
        where, hex,
        fmt::format("a {} sum has {} hexadecimal digits", algorithm->name, algorithm->digits));
  }
  auto file = line.substr(open + 1, close - open - 1);
  if (file.starts_with("./")) file.erase(0, 2);
  return {std::move(file), algorithm->kind, std::move(hex)};
}

}  // namespace

std::string_view name_of(HashKind kind) noexcept {
  return algorithms[static_cast<std::size_t>(kind)].name;
}

std::vector<ManifestEntry> parse_manifest(std::string_view text, const std::string& where) {
  std::vector<ManifestEntry> out;
  std::set<std::string> names;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    const auto line = printable(boost::trim_copy(std::string{text.substr(at, end - at)}));
    at = end + 1;
    ++number;
    if (line.empty()) continue;
    const auto place = fmt::format("{}, line {}", where, number);
    auto entry = parse_line(line, place);
    if (!names.insert(entry.file).second) throw_bad_input(place, entry.file, "it is named twice");
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace px::image
