#include "image/ovf_items.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

namespace px::image {

namespace {

constexpr std::uint64_t gib = 1U << 30U;
constexpr std::size_t most_disks = 1000;

/// A disk with what its place in the order depends on.
struct Placed {
  OvfDisk disk;
  pugi::xml_node node;
  std::string parent;               ///< InstanceID of its controller, or empty
  std::optional<int> address;       ///< AddressOnParent
  std::uint64_t boot = UINT64_MAX;  ///< lower boots first
  std::size_t controller_rank = 0;  ///< of its controller's first disk
};

// --- disk section --------------------------------------------------------------------------------

std::uint64_t capacity_of(const OvfXml& xml, pugi::xml_node node, const OvfMachine& machine) {
  const auto said = attribute(node, "capacity");
  if (said.empty()) {
    // oVirt's own attribute, in GiB.
    const auto size = machine.flavour == "ovirt" ? attribute(node, "size") : std::string{};
    return size.empty() ? 0 : xml.number(node, "size", size, 0, INT64_MAX / gib) * gib;
  }
  const auto unit_text = attribute(node, "capacityAllocationUnits");
  const auto unit = bytes_of_unit(unit_text);
  if (!unit) {
    xml.fail_value(node, "capacityAllocationUnits", unit_text, "for example: byte * 2^30");
  }
  const auto number = xml.number(node, "capacity", said, 0, INT64_MAX);
  if (number > INT64_MAX / *unit) {
    xml.fail_value(node, "capacity", said, fmt::format("times {} it is no size of a disk", *unit));
  }
  return number * *unit;
}

std::vector<OvfDiskEntry> read_entries(const OvfXml& xml, const OvfMachine& machine) {
  std::vector<OvfDiskEntry> out;
  std::set<std::string> ids;
  for (const auto section : sections(xml.root(), "DiskSection")) {
    for (const auto node : children(section, "Disk")) {
      if (out.size() == most_disks) xml.fail(node, fmt::format("more than {} disks", most_disks));
      OvfDiskEntry entry{node, attribute(node, "diskId"), 0, attribute(node, "fileRef")};
      if (!ids.insert(entry.id).second) {
        xml.fail(node, fmt::format("two disks have the id \"{}\"", entry.id));
      }
      if (const auto parent = attribute(node, "parentRef"); !parent.empty()) {
        xml.fail(node, fmt::format("disk \"{}\" is the difference to disk \"{}\" (parentRef); each "
                                   "disk must stand alone",
                                   entry.id, parent));
      }
      entry.capacity = capacity_of(xml, node, machine);
      out.push_back(std::move(entry));
    }
  }
  return out;
}

/// A file by its id; oVirt also refers by href, or by IMAGE/VOLUME.
const OvfFile* find_file(const OvfMachine& machine, std::string_view ref) {
  const auto last = ref.substr(ref.rfind('/') + 1);
  for (const auto wanted : {ref, last}) {
    for (const auto& file : machine.files) {
      if (file.id == wanted || file.href == wanted) return &file;
    }
  }
  return nullptr;
}

// --- references ----------------------------------------------------------------------------------

/// HostResource without its scheme: `disk/vmdisk1`, `file/file1`, or oVirt's path.
std::string_view reference_of(std::string_view host_resource) {
  if (host_resource.starts_with("ovf:")) host_resource.remove_prefix(4);
  while (host_resource.starts_with('/')) host_resource.remove_prefix(1);
  return host_resource;
}

const OvfDiskEntry* find_entry(const std::vector<OvfDiskEntry>& entries, std::string_view ref) {
  if (ref.starts_with("disk/")) ref.remove_prefix(5);
  const auto first = ref.substr(0, ref.find('/'));
  const auto last = ref.substr(ref.rfind('/') + 1);
  for (const auto& entry : entries) {
    if (entry.id == ref || (!entry.file_ref.empty() && entry.file_ref == ref)) return &entry;
  }
  for (const auto& entry : entries) {
    if (entry.id == first || entry.id == last) return &entry;
  }
  return nullptr;
}

/// The disk that an item shows, without its place.
OvfDisk disk_of(const OvfXml& xml, const OvfItem& item, std::string_view ref,
                const OvfDiskEntry* entry, const OvfMachine& machine) {
  OvfDisk out;
  if (ref.starts_with("file/")) {
    const auto* file = find_file(machine, ref.substr(5));
    if (file == nullptr) xml.fail(item.node, fmt::format("HostResource leads to no file: {}", ref));
    out.id = file->id;
    out.file = *file;
    return out;
  }
  if (entry == nullptr) xml.fail(item.node, fmt::format("HostResource leads to no disk: {}", ref));
  out.id = entry->id;
  out.capacity = entry->capacity;
  out.format = attribute(entry->node, "format");
  if (!entry->file_ref.empty()) {
    const auto* file = find_file(machine, entry->file_ref);
    if (file == nullptr) {
      xml.fail(entry->node,
               fmt::format("fileRef of disk \"{}\" leads to no file: {}", out.id, entry->file_ref));
    }
    out.file = *file;
  } else if (out.capacity == 0) {
    xml.fail(entry->node, fmt::format("disk \"{}\" has neither a file nor a capacity", out.id));
  }
  return out;
}

// --- places --------------------------------------------------------------------------------------

const OvfItem* find_item(const std::vector<OvfItem>& items, const std::string& id) {
  const auto it = std::ranges::find(items, id, &OvfItem::id);
  return id.empty() || it == items.end() ? nullptr : &*it;
}

/// Sets controller, scsi_model and parent: by the controller's item, by oVirt's attribute, or by
/// what the drive itself says.
void set_controller(Placed& placed, const OvfItem& item, const std::vector<OvfItem>& items,
                    pugi::xml_node entry, OvfMachine& machine) {
  auto& disk = placed.disk;
  const auto* controller = find_item(items, item.text("Parent"));
  const auto interface = attribute(entry, "disk-interface");
  std::optional<std::string_view> bus;
  std::string model;
  if (controller != nullptr) {
    bus = bus_of(controller->type, controller->sub_type);
    model = controller->sub_type;
    placed.parent = controller->id;
  } else if (!interface.empty()) {
    bus = bus_of(0, interface);
    model = interface;
  } else {
    bus = bus_of(0, item.sub_type);
    model = item.sub_type;
  }
  if (!bus) {
    machine.warnings.push_back(
        fmt::format("Disk {} is on no controller that is known; SATA is taken.", disk.id));
  }
  disk.controller = bus.value_or("sata");
  if (disk.controller == "scsi") disk.scsi_model = boost::to_lower_copy(model);
}

/// VMware lists its second IDE controller first, so it is the address that counts.
void number_controllers(const OvfXml& xml, const std::vector<OvfItem>& items,
                        std::vector<Placed>& all) {
  std::map<std::string, std::set<std::tuple<std::uint64_t, std::size_t, std::string>>> by_bus;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto bus = bus_of(items[i].type, items[i].sub_type);
    const bool device = items[i].type == disk_drive || items[i].type == logical_disk;
    if (!bus || device || items[i].id.empty()) continue;
    const auto address = items[i].text("Address");
    const bool digits = !address.empty() && address.size() < 4 &&
                        address.find_first_not_of("0123456789") == std::string::npos;
    const auto place = digits ? xml.number(items[i].node, "Address", address, 0, 999) : 1000;
    by_bus[std::string{*bus}].emplace(place, i, items[i].id);
  }
  for (auto& placed : all) {
    const auto& same = by_bus[placed.disk.controller];
    const auto it = std::ranges::find_if(
        same, [&](const auto& entry) { return std::get<2>(entry) == placed.parent; });
    if (it != same.end()) {
      placed.disk.controller_number = static_cast<int>(std::distance(same.begin(), it));
    }
  }
}

/// Those without an address take the free places after the others have theirs.
void set_positions(const OvfXml& xml, std::vector<Placed>& all) {
  std::map<std::string, std::set<int>> taken;
  const auto key = [](const Placed& placed) {
    return fmt::format("{} {}", placed.disk.controller, placed.disk.controller_number);
  };
  for (auto& placed : all) {
    if (!placed.address) continue;
    placed.disk.position = *placed.address;
    if (!taken[key(placed)].insert(*placed.address).second) {
      xml.fail(placed.node, fmt::format("two disks are at AddressOnParent {} of one controller",
                                        *placed.address));
    }
  }
  for (auto& placed : all) {
    if (placed.address) continue;
    auto& places = taken[key(placed)];
    while (places.contains(placed.disk.position)) ++placed.disk.position;
    places.insert(placed.disk.position);
  }
}

/// InstanceIDs that VMware's boot order names.
std::set<std::string> boot_ids(const std::vector<OvfItem>& items) {
  std::set<std::string> out;
  if (items.empty()) return out;
  for (const auto section : children(items.front().node.parent(), "BootOrderSection")) {
    out.insert(attribute(section, "instanceId"));
  }
  return out;
}

/// VMware names the devices to boot from, oVirt numbers or marks them.
std::uint64_t boot_place(const OvfXml& xml, const OvfItem& item, pugi::xml_node entry,
                         const std::set<std::string>& named) {
  if (named.contains(item.id)) return 0;
  const auto order = item.text("BootOrder");
  if (!order.empty() && order != "0") {
    return xml.number(item.node, "BootOrder", order, 0, 65535);
  }
  const bool marked = boost::to_lower_copy(attribute(entry, "boot")) == "true";
  return marked ? UINT64_MAX - 1 : UINT64_MAX;
}

void set_ranks(std::vector<Placed>& all) {
  std::map<std::string, std::size_t> ranks;
  for (auto& placed : all) {
    const auto key = fmt::format("{} {}", placed.disk.controller, placed.disk.controller_number);
    placed.controller_rank = ranks.emplace(key, ranks.size()).first->second;
  }
}

std::optional<int> address_of(const OvfXml& xml, const OvfItem& item) {
  const auto text = item.text("AddressOnParent");
  if (text.empty()) return std::nullopt;
  return static_cast<int>(xml.number(item.node, "AddressOnParent", text, 0, 255));
}

void warn_of_unused(const std::vector<OvfDiskEntry>& entries, const std::set<std::string>& used,
                    OvfMachine& machine) {
  for (const auto& entry : entries) {
    if (used.contains(entry.id)) continue;
    machine.warnings.push_back(
        fmt::format("Disk {} is in no drive of the machine, and is left out.", entry.id));
  }
}

}  // namespace

void read_disks(const OvfXml& xml, const std::vector<OvfItem>& items, OvfMachine& machine) {
  const auto entries = read_entries(xml, machine);
  const auto named = boot_ids(items);
  std::vector<Placed> all;
  std::set<std::string> used;
  for (const auto& item : items) {
    if (item.type != disk_drive && item.type != logical_disk) continue;
    const auto host_resource = item.text("HostResource");
    const auto ref = reference_of(host_resource);
    if (ref.empty()) {
      machine.warnings.push_back(
          fmt::format("Drive {} has no disk in the appliance, and is left out.", item.id));
      continue;
    }
    const auto* entry = ref.starts_with("file/") ? nullptr : find_entry(entries, ref);
    Placed placed;
    placed.node = item.node;
    placed.disk = disk_of(xml, item, ref, entry, machine);
    if (!used.insert(placed.disk.id).second) {
      xml.fail(item.node, fmt::format("disk \"{}\" is in two drives", placed.disk.id));
    }
    const auto entry_node = entry == nullptr ? pugi::xml_node{} : entry->node;
    set_controller(placed, item, items, entry_node, machine);
    placed.boot = boot_place(xml, item, entry_node, named);
    placed.address = address_of(xml, item);
    all.push_back(std::move(placed));
  }
  warn_of_unused(entries, used, machine);
  number_controllers(xml, items, all);
  set_positions(xml, all);
  set_ranks(all);
  std::ranges::sort(all, {}, [](const Placed& placed) {
    return std::tuple{placed.boot, placed.controller_rank, placed.disk.position};
  });
  for (auto& placed : all) machine.disks.push_back(std::move(placed.disk));
}

}  // namespace px::image
