#pragma once
#include "image/ovf.hpp"
#include "image/ovf_values.hpp"
#include "image/ovf_xml.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

/// The parts that ovf.cpp puts together.
namespace px::image {

/// A device of the hardware section: Item, and OVF 2.0's StorageItem and EthernetPortItem.
struct OvfItem {
  pugi::xml_node node;
  std::string id;  ///< InstanceID
  std::uint64_t type = 0;
  std::string sub_type;

  std::string text(std::string_view name) const { return child_text(node, name); }
};

/// A disk of the disk section.
struct OvfDiskEntry {
  pugi::xml_node node;
  std::string id;
  std::uint64_t capacity = 0;  ///< bytes; 0 = not said
  std::string file_ref;
};

/// Devices of the configuration that is the default (DSP0243, deployment options), or of none.
std::vector<OvfItem> read_items(const OvfXml& xml, pugi::xml_node hardware);

/// References/File of the envelope.
std::vector<OvfFile> read_files(const OvfXml& xml);

/// The disks that items use, in the order in which they boot; what is left out goes to
/// machine.warnings. Needs machine.files and machine.flavour.
void read_disks(const OvfXml& xml, const std::vector<OvfItem>& items, OvfMachine& machine);

}  // namespace px::image
