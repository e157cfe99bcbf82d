#include "network/change_note.hpp"

#include "support/error.hpp"

#include <boost/algorithm/string/classification.hpp>
#include <boost/algorithm/string/split.hpp>
#include <fmt/format.h>

namespace px::network {

namespace {

constexpr std::string_view no_lock = "-";  // a server before 9.0

}  // namespace

std::string ChangeNote::text() const {
  if (empty()) return {};
  std::string out = token.value_or(std::string{no_lock});
  for (const auto& zone : zones) out += " " + zone.text();
  return out;
}

ChangeNote ChangeNote::of(std::string_view text) {
  ChangeNote out;
  if (text.empty()) return out;
  std::vector<std::string> words;
  boost::algorithm::split(words, text, boost::algorithm::is_any_of(" "));
  if (words.front() != no_lock) out.token = words.front();
  try {
    for (std::size_t i = 1; i < words.size(); ++i) {
      out.zones.push_back(pve::ZoneId::parse(words[i]));
    }
  } catch (const Error&) {
    return {};
  }
  return out;
}

}  // namespace px::network
