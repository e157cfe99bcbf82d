// The OVF half of ova.hpp: what a description says, as Proxmox VE reads it.
#include "node/storage/archive_io.hpp"
#include "node/storage/ova.hpp"

#include <pugixml.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstring>
#include <regex>
#include <set>

namespace px::node {

namespace {

/// Far more than any description; the whole of it is in memory.
constexpr std::size_t largest_ovf = 4U << 20;

/// Resource types of DMTF's CIM_ResourceAllocationSettingData.
constexpr int processor = 3;
constexpr int memory = 4;
constexpr int ethernet = 10;
constexpr int disk_drive = 17;

/// The name without its namespace prefix: tools differ in which one is the default.
std::string_view local_name(const char* name) {
  const char* colon = std::strchr(name, ':');
  return colon == nullptr ? name : colon + 1;
}

std::vector<pugi::xml_node> children(const pugi::xml_node& parent, std::string_view name) {
  std::vector<pugi::xml_node> out;
  for (const auto& child : parent.children()) {
    if (local_name(child.name()) == name) out.push_back(child);
  }
  return out;
}

pugi::xml_node child(const pugi::xml_node& parent, std::string_view name) {
  const auto found = children(parent, name);
  return found.empty() ? pugi::xml_node{} : found.front();
}

std::string text_of(const pugi::xml_node& parent, std::string_view name) {
  return child(parent, name).text().as_string();
}

std::string attribute(const pugi::xml_node& node, std::string_view name) {
  for (const auto& item : node.attributes()) {
    if (local_name(item.name()) == name) return item.as_string();
  }
  return {};
}

/// The child `name` of `parent` whose attribute `key` is `value`.
pugi::xml_node find_by(const pugi::xml_node& parent, std::string_view name, std::string_view key,
                       const std::string& value) {
  for (const auto& node : children(parent, name)) {
    if (attribute(node, key) == value) return node;
  }
  return {};
}

/// `ostype` by DMTF's CIM_OperatingSystem (pve-storage OVF.pm, ostype_ids).
std::string os_type(int id) {
  struct Range {
    int first;
    int last;
    const char* type;
  };
  constexpr std::array ranges{
      Range{18, 18, "winxp"},   Range{29, 29, "solaris"}, Range{36, 36, "l26"},
      Range{58, 58, "w2k"},     Range{67, 67, "wxp"},     Range{69, 70, "w2k3"},
      Range{71, 72, "wxp"},     Range{73, 74, "wvista"},  Range{75, 75, "wxp"},
      Range{76, 77, "w2k8"},    Range{79, 80, "l26"},     Range{81, 81, "solaris"},
      Range{82, 85, "l26"},     Range{87, 87, "l26"},     Range{89, 96, "l26"},
      Range{97, 98, "l24"},     Range{99, 101, "l26"},    Range{103, 103, "win7"},
      Range{105, 105, "win7"},  Range{106, 109, "l26"},   Range{111, 115, "win8"},
      Range{116, 116, "win10"}, Range{117, 118, "win8"},  Range{119, 121, "win10"},
      Range{122, 123, "win11"}};
  for (const auto& range : ranges) {
    if (id >= range.first && id <= range.last) return range.type;
  }
  return "other";
}

/// A VM's name must be a DNS name.
std::string dns_name(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isspace(byte) != 0) {
      if (!out.ends_with('-')) out += '-';
    } else if (std::isalnum(byte) != 0 || c == '-' || c == '.') {
      out += c;
    }
  }
  return out;
}

/// `byte * 2^20` is 1048576; 0 when it is no such unit (DSP0004).
double capacity_unit(const std::string& text) {
  static const std::regex form{R"(\s*byte\s*\*\s*(\d{1,3})\s*\^\s*(\d{1,3})\s*)"};
  std::smatch match;
  if (text.size() > 64 || !std::regex_match(text, match, form)) return 0;
  return std::pow(std::stod(match[1]), std::stod(match[2]));
}

class Description {
 public:
  Description(const pugi::xml_document& document, std::string archive_id)
      : envelope_{child(document, "Envelope")},
        system_{child(envelope_, "VirtualSystem")},
        hardware_{child(system_, "VirtualHardwareSection")},
        archive_id_{std::move(archive_id)} {}

  json::object answer() {
    auto disks = this->disks();
    json::object args{
        {"cores", quantity(processor)},
        {"memory", quantity(memory)},
        {"ostype",
         os_type(std::atoi(attribute(child(system_, "OperatingSystemSection"), "id").c_str()))}};
    std::string name = text_of(system_, "Name");
    if (name.empty()) name = attribute(system_, "id");
    if (!name.empty()) args["name"] = dns_name(name);
    if (!order_.empty()) args["boot"] = fmt::format("order={}", fmt::join(order_, ";"));
    json::array warnings{json::object{{"type", "ova-needs-extracting"}}};
    if (firmware() == "efi") {
      args["bios"] = "ovmf";
      disks["efidisk0"] = 1;
      warnings.push_back(
          json::object{{"type", "efi-state-lost"}, {"key", "bios"}, {"value", "ovmf"}});
    }
    return {{"type", "vm"},
            {"source", archive_id_.substr(archive_id_.find(':') + 1)},
            {"create-args", std::move(args)},
            {"disks", std::move(disks)},
            {"net", nics()},
            {"warnings", std::move(warnings)}};
  }

 private:
  std::vector<pugi::xml_node> items(int type) const {
    auto out = children(hardware_, "Item");
    std::erase_if(out, [type](const pugi::xml_node& item) {
      return child(item, "ResourceType").text().as_int() != type;
    });
    return out;
  }

  std::string quantity(int type) const {
    const auto found = items(type);
    return found.empty() ? "" : text_of(found.front(), "VirtualQuantity");
  }

  std::string firmware() const {
    return attribute(find_by(hardware_, "Config", "key", "firmware"), "value");
  }

  /// The bus of a disk's controller; empty = none that a VM here has.
  std::string bus_of(const pugi::xml_node& disk) const {
    const auto parent = text_of(disk, "Parent");
    for (const auto& item : children(hardware_, "Item")) {
      if (parent.empty() || text_of(item, "InstanceID") != parent) continue;
      switch (child(item, "ResourceType").text().as_int()) {
        case 5:
          return "ide";
        case 6:
          return "scsi";
        case 20:
          return "sata";
        default:
          return {};
      }
    }
    return {};
  }

  json::object disks() {
    json::object out;
    for (const auto& item : items(disk_drive)) add_disk(item, out);
    return out;
  }

  /// A disk that leads nowhere is left out, as PVE does.
  void add_disk(const pugi::xml_node& item, json::object& out) {
    static const std::regex resource{R"((?:ovf:)?/[A-Za-z0-9._~-]+/([A-Za-z0-9._~-]+))"};
    static const std::regex plain{R"([A-Za-z0-9 ._+=-]+)"};
    const std::string host = text_of(item, "HostResource");
    std::smatch match;
    const std::string bus = bus_of(item);
    if (bus.empty() || host.size() > 512 || !std::regex_match(host, match, resource)) return;
    const auto disk = find_by(child(envelope_, "DiskSection"), "Disk", "diskId", match[1]);
    const auto file =
        find_by(child(envelope_, "References"), "File", "id", attribute(disk, "fileRef"));
    const std::string path = attribute(file, "href");
    if (path.empty()) return;
    if (path.size() > 255 || path == "." || path == ".." || !std::regex_match(path, plain)) {
      throw Error{Errc::rejected, fmt::format("referenced path '{}' is invalid", path)};
    }
    const std::string name = bus + text_of(item, "AddressOnParent");
    json::object entry{{"volid", archive_id_ + "/" + path}};
    const double size = capacity_unit(attribute(disk, "capacityAllocationUnits")) *
                        std::atof(attribute(disk, "capacity").c_str());
    if (size >= 1 && size < 9e18) entry["size"] = static_cast<std::int64_t>(size);
    out[name] = std::move(entry);
    order_.push_back(name);
  }

  json::object nics() const {
    static const std::set<std::string, std::less<>> models{"e1000", "e1000e", "vmxnet3"};
    json::object out;
    for (const auto& item : items(ethernet)) {
      std::string model = text_of(item, "ResourceSubType");
      std::transform(model.begin(), model.end(), model.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      out[fmt::format("net{}", out.size())] =
          json::object{{"model", models.contains(model) ? model : "e1000"}};
    }
    return out;
  }

  pugi::xml_node envelope_;
  pugi::xml_node system_;
  pugi::xml_node hardware_;
  std::string archive_id_;
  std::vector<std::string> order_;
};

}  // namespace

json::object describe_ova(const std::filesystem::path& archive, const std::string& archive_id) {
  const std::string text = read_from_tar(archive, ".ovf", largest_ovf);
  pugi::xml_document document;
  // pugixml knows no entities but the five of XML itself: none can grow or read a file.
  const auto parsed = document.load_buffer(text.data(), text.size());
  if (!parsed) {
    throw Error{Errc::rejected,
                fmt::format("{}: the OVF is no XML at byte {}: {}", archive.filename().string(),
                            parsed.offset, parsed.description())};
  }
  return Description{document, archive_id}.answer();
}

}  // namespace px::node
