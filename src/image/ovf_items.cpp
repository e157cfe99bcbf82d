#include "image/ovf_items.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <sstream>

namespace px::image {

namespace {

/// More than any machine has; what is compared with each other stays small.
constexpr std::size_t most_items = 2000;
constexpr std::size_t most_files = 2000;

/// The id of the configuration that is taken when nobody chooses; empty when there are none.
std::string default_configuration(const OvfXml& xml) {
  std::string out;
  for (const auto section : sections(xml.root(), "DeploymentOptionSection")) {
    for (const auto choice : children(section, "Configuration")) {
      const auto id = attribute(choice, "id");
      const auto chosen = attribute(choice, "default");
      if (chosen == "true" || chosen == "1") return id;
      if (out.empty()) out = id;
    }
  }
  return out;
}

/// An item is for all configurations, or for those that its attribute lists.
bool belongs_to(pugi::xml_node item, const std::string& configuration) {
  const auto listed = attribute(item, "configuration");
  if (listed.empty()) return true;
  std::istringstream words{listed};
  for (std::string word; words >> word;) {
    if (word == configuration) return true;
  }
  return false;
}

/// Also limits for a quantity are items, which are no devices (DSP0243, ovf:bound).
bool is_device(pugi::xml_node item) {
  const auto name = local_name(item.name());
  if (name != "Item" && name != "StorageItem" && name != "EthernetPortItem") return false;
  const auto bound = attribute(item, "bound");
  return bound.empty() || bound == "normal";
}

OvfItem to_item(const OvfXml& xml, pugi::xml_node node) {
  OvfItem out{node, child_text(node, "InstanceID"), 0, child_text(node, "ResourceSubType")};
  // OVF 0.9, which RHV still writes.
  if (out.id.empty()) out.id = child_text(node, "InstanceId");
  out.type = xml.number(node, "ResourceType", child_text(node, "ResourceType"), 0, 65535);
  return out;
}

bool is_gzip(const OvfXml& xml, pugi::xml_node file) {
  const auto compression = boost::to_lower_copy(attribute(file, "compression"));
  if (compression.empty() || compression == "identity") return false;
  if (compression != "gzip") {
    xml.fail_value(file, "compression", compression, "gzip and identity are known");
  }
  return true;
}

OvfFile to_file(const OvfXml& xml, pugi::xml_node node) {
  OvfFile out;
  out.id = attribute(node, "id");
  out.href = attribute(node, "href");
  if (out.href.empty()) xml.fail(node, fmt::format("File \"{}\" has no href", out.id));
  if (out.href.find("://") != std::string::npos) {
    xml.fail_value(node, "href", out.href, "files must be in the OVA, or beside the .ovf");
  }
  if (const auto size = attribute(node, "size"); !size.empty()) {
    out.size = xml.number(node, "size", size, 0, INT64_MAX);
  }
  out.gzip = is_gzip(xml, node);
  if (!attribute(node, "chunkSize").empty()) {
    xml.fail(node,
             fmt::format("File \"{0}\" is cut into chunks (chunkSize), which is not read; join "
                         "{0}.000000000 and so on to one file, and drop the attribute",
                         out.href));
  }
  return out;
}

}  // namespace

std::vector<OvfItem> read_items(const OvfXml& xml, pugi::xml_node hardware) {
  const auto configuration = default_configuration(xml);
  std::vector<OvfItem> out;
  std::map<std::string, std::size_t> by_id;
  for (const auto node : hardware.children()) {
    if (!is_device(node) || !belongs_to(node, configuration)) continue;
    if (out.size() == most_items) xml.fail(node, fmt::format("more than {} devices", most_items));
    auto item = to_item(xml, node);
    // An item of the configuration replaces the one of all configurations.
    const auto it = item.id.empty() ? by_id.end() : by_id.find(item.id);
    if (it != by_id.end() && !attribute(node, "configuration").empty()) {
      out[it->second] = std::move(item);
      continue;
    }
    if (!item.id.empty()) by_id.emplace(item.id, out.size());
    out.push_back(std::move(item));
  }
  return out;
}

std::vector<OvfFile> read_files(const OvfXml& xml) {
  std::vector<OvfFile> out;
  std::set<std::string> ids;
  for (const auto references : sections(xml.root(), "References")) {
    for (const auto node : children(references, "File")) {
      if (out.size() == most_files) xml.fail(node, fmt::format("more than {} files", most_files));
      auto file = to_file(xml, node);
      if (!ids.insert(file.id).second) {
        xml.fail(node, fmt::format("two files have the id \"{}\"", file.id));
      }
      out.push_back(std::move(file));
    }
  }
  return out;
}

}  // namespace px::image
