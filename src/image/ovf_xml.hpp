#pragma once
#include <pugixml.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// XML of a descriptor. Elements and attributes go by their local names: prefixes differ from tool
/// to tool, and oVirt's namespaces differ from the standard's.
namespace px::image {

class OvfXml {
 public:
  /// Throws Error{bad_input} with the line for broken XML, and for a DTD: nobody's descriptor needs
  /// entities, and those of a stranger's read files and fill memory.
  OvfXml(std::string_view text, std::string where);

  pugi::xml_node root() const { return document_.document_element(); }
  /// Throws Error{bad_input}: where, the node's line, `said`.
  [[noreturn]] void fail(pugi::xml_node at, const std::string& said) const;
  /// The same: "`what`: is VALUE; WANTED".
  [[noreturn]] void fail_value(pugi::xml_node at, std::string_view what, std::string_view value,
                               std::string_view wanted) const;

  /// A whole number `least`..`most`.
  std::uint64_t number(pugi::xml_node at, std::string_view what, std::string_view text,
                       std::uint64_t least, std::uint64_t most) const;

 private:
  std::size_t line_of(std::ptrdiff_t offset) const;

  std::string where_;
  std::string_view text_;
  pugi::xml_document document_;
};

std::string_view local_name(const char* name);
/// Empty nodes and texts where there is none. Texts have no control characters.
pugi::xml_node child(pugi::xml_node parent, std::string_view name);
std::vector<pugi::xml_node> children(pugi::xml_node parent, std::string_view name);
std::string attribute(pugi::xml_node node, std::string_view name);
/// Of the child of that name, trimmed.
std::string child_text(pugi::xml_node parent, std::string_view name);
/// <DiskSection>, or RHV's <Section xsi:type="ovf:DiskSection_Type">.
std::vector<pugi::xml_node> sections(pugi::xml_node parent, std::string_view name);

}  // namespace px::image
