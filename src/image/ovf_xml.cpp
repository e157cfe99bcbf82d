#include "image/ovf_xml.hpp"

#include "support/bytes.hpp"
#include "support/error.hpp"

#include <boost/algorithm/string/trim.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace px::image {

namespace {

/// Of a wrong value, in an error.
constexpr std::size_t most_shown = 100;

}  // namespace

OvfXml::OvfXml(std::string_view text, std::string where) : where_{std::move(where)}, text_{text} {
  constexpr unsigned options = pugi::parse_default | pugi::parse_doctype;
  const auto result = document_.load_buffer(text.data(), text.size(), options);
  if (!result) {
    throw Error{Errc::bad_input, fmt::format("{}, line {}: broken XML: {}", where_,
                                             line_of(result.offset), result.description())};
  }
  for (const auto node : document_.children()) {
    if (node.type() != pugi::node_doctype) continue;
    fail(node, "it has a DTD (<!DOCTYPE ...>); an OVF has none, and entities are not read");
  }
}

std::size_t OvfXml::line_of(std::ptrdiff_t offset) const {
  const auto end =
      std::min(static_cast<std::size_t>(std::max<std::ptrdiff_t>(offset, 0)), text_.size());
  return 1 + static_cast<std::size_t>(std::count(text_.begin(), text_.begin() + end, '\n'));
}

void OvfXml::fail(pugi::xml_node at, const std::string& said) const {
  throw Error{Errc::bad_input,
              fmt::format("{}, line {}: {}", where_, line_of(at.offset_debug()), said)};
}

void OvfXml::fail_value(pugi::xml_node at, std::string_view what, std::string_view value,
                        std::string_view wanted) const {
  fail(at, fmt::format("{}: is \"{}\"; {}", what, value.substr(0, most_shown), wanted));
}

std::uint64_t OvfXml::number(pugi::xml_node at, std::string_view what, std::string_view text,
                             std::uint64_t least, std::uint64_t most) const {
  std::uint64_t out = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || stop != text.data() + text.size() || out < least || out > most) {
    fail_value(at, what, text, fmt::format("it must be a whole number {}..{}", least, most));
  }
  return out;
}

std::string_view local_name(const char* name) {
  const std::string_view full{name};
  const auto colon = full.find(':');
  return colon == std::string_view::npos ? full : full.substr(colon + 1);
}

pugi::xml_node child(pugi::xml_node parent, std::string_view name) {
  return parent.find_child([&](pugi::xml_node node) { return local_name(node.name()) == name; });
}

std::vector<pugi::xml_node> children(pugi::xml_node parent, std::string_view name) {
  std::vector<pugi::xml_node> out;
  for (const auto node : parent.children()) {
    if (local_name(node.name()) == name) out.push_back(node);
  }
  return out;
}

std::string attribute(pugi::xml_node node, std::string_view name) {
  return printable(node.find_attribute([&](pugi::xml_attribute entry) {
                         return local_name(entry.name()) == name;
                       })
                       .value());
}

std::string child_text(pugi::xml_node parent, std::string_view name) {
  return printable(boost::trim_copy(std::string{child(parent, name).text().get()}));
}

std::vector<pugi::xml_node> sections(pugi::xml_node parent, std::string_view name) {
  std::vector<pugi::xml_node> out;
  const auto type = fmt::format("{}_Type", name);
  for (const auto node : parent.children()) {
    const auto own = local_name(node.name());
    // RHV calls its virtual system Content.
    const bool typed = own == "Section" || own == "Content";
    if (own == name || (typed && local_name(attribute(node, "type").c_str()) == type)) {
      out.push_back(node);
    }
  }
  return out;
}

}  // namespace px::image
