#include "image/ovf.hpp"

#include "image/ovf_items.hpp"
#include "image/ovf_xml.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace px::image {

namespace {

/// Real ones have some ten KiB.
constexpr std::size_t most_text = 4U << 20U;
constexpr std::uint64_t most_vcpus = 4096;
constexpr std::uint64_t mib = 1U << 20U;

// --- envelope ------------------------------------------------------------------------------------

void check_envelope(const OvfXml& xml) {
  const auto root = xml.root();
  if (local_name(root.name()) != "Envelope") {
    xml.fail(root, fmt::format("it is no OVF: the root element is <{}>, not <Envelope>",
                               printable(root.name()).substr(0, 100)));
  }
}

std::string version_of(const OvfXml& xml) {
  for (const auto entry : xml.root().attributes()) {
    const std::string_view value{entry.value()};
    if (value.starts_with("http://schemas.dmtf.org/ovf/envelope/2")) return "2";
  }
  return "1";
}

/// All virtual systems, also those inside of collections.
std::vector<pugi::xml_node> systems_in(pugi::xml_node parent) {
  auto out = sections(parent, "VirtualSystem");
  for (const auto collection : sections(parent, "VirtualSystemCollection")) {
    for (const auto system : sections(collection, "VirtualSystem")) out.push_back(system);
    // One in another: its systems count, and more than one is refused anyway.
    for (const auto inner : sections(collection, "VirtualSystemCollection")) {
      for (const auto system : sections(inner, "VirtualSystem")) out.push_back(system);
    }
  }
  return out;
}

/// An appliance becomes one VM here; a collection is fine when it holds just one.
pugi::xml_node only_system(const OvfXml& xml) {
  const auto all = systems_in(xml.root());
  if (all.empty()) xml.fail(xml.root(), "it describes no virtual system");
  if (all.size() > 1) {
    std::vector<std::string> names;
    for (const auto system : all) names.push_back(attribute(system, "id"));
    xml.fail(all[1],
             fmt::format("it describes {} virtual systems ({}); an appliance must be one VM. "
                         "Export each as an OVA of its own",
                         all.size(), fmt::join(names, ", ")));
  }
  return all.front();
}

pugi::xml_node hardware_of(const OvfXml& xml, pugi::xml_node system, OvfMachine& machine) {
  const auto all = sections(system, "VirtualHardwareSection");
  if (all.empty()) xml.fail(system, "the virtual system has no VirtualHardwareSection");
  if (all.size() > 1) {
    machine.warnings.push_back(
        fmt::format("It describes {} choices of hardware; the first is taken.", all.size()));
  }
  return all.front();
}

std::string flavour_of(const OvfXml& xml, pugi::xml_node hardware) {
  const auto type =
      boost::to_lower_copy(child_text(child(hardware, "System"), "VirtualSystemType"));
  if (type.starts_with("vmx-")) return "vmware";
  if (type.starts_with("virtualbox")) return "virtualbox";
  if (type.starts_with("engine") || type.starts_with("rhev") || type.starts_with("ovirt")) {
    return "ovirt";
  }
  for (const auto entry : xml.root().attributes()) {
    if (std::string_view{entry.value()}.find("ovirt.org") != std::string_view::npos) return "ovirt";
  }
  return "other";
}

// --- machine -------------------------------------------------------------------------------------

std::uint64_t cpus_of(const OvfXml& xml, const OvfItem& item) {
  if (const auto quantity = item.text("VirtualQuantity"); !quantity.empty()) {
    return xml.number(item.node, "VirtualQuantity of the processor", quantity, 1, most_vcpus);
  }
  // oVirt's own elements.
  std::uint64_t out = 1;
  for (const auto* name : {"num_of_sockets", "cpu_per_socket", "threads_per_cpu"}) {
    const auto factor = item.text(name);
    if (!factor.empty()) out *= xml.number(item.node, name, factor, 1, most_vcpus);
  }
  return out;
}

void read_cpus(const OvfXml& xml, const std::vector<OvfItem>& items, OvfMachine& machine) {
  std::uint64_t sum = 0;
  for (const auto& item : items) {
    if (item.type != processor) continue;
    sum += cpus_of(xml, item);
    if (sum > most_vcpus) xml.fail(item.node, fmt::format("more than {} processors", most_vcpus));
  }
  if (sum > 0) machine.vcpus = static_cast<int>(sum);
}

std::uint64_t memory_bytes(const OvfXml& xml, const OvfItem& item, OvfMachine& machine) {
  constexpr std::uint64_t most = std::uint64_t{4} << 40U;  // 4 TiB: qemu-server's limit
  const auto said = item.text("VirtualQuantity");
  const auto number = xml.number(item.node, "VirtualQuantity of the memory", said, 1, most);
  const auto unit_text = item.text("AllocationUnits");
  auto unit = bytes_of_unit(unit_text);
  if (!unit) xml.fail_value(item.node, "AllocationUnits", unit_text, "for example: byte * 2^20");
  // Hand-made files leave the unit out and mean MiB.
  if (unit_text.empty() && number < mib) {
    unit = mib;
    machine.warnings.push_back(fmt::format("Memory is {} without a unit; MiB is taken.", number));
  }
  if (number > most / *unit) {
    xml.fail_value(item.node, "VirtualQuantity of the memory", said,
                   fmt::format("times {} it is more than 4 TiB", *unit));
  }
  return number * *unit;
}

void read_memory(const OvfXml& xml, const std::vector<OvfItem>& items, OvfMachine& machine) {
  const auto it = std::ranges::find(items, memory, &OvfItem::type);
  if (it == items.end()) return;
  machine.memory_mib = (memory_bytes(xml, *it, machine) + mib - 1) / mib;
}

/// vmw:Config and vmw:ExtraConfig of the hardware section.
std::string vmware_setting(pugi::xml_node hardware, std::string_view key) {
  for (const auto* kind : {"Config", "ExtraConfig"}) {
    for (const auto entry : children(hardware, kind)) {
      if (attribute(entry, "key") == key) return boost::to_lower_copy(attribute(entry, "value"));
    }
  }
  return {};
}

void read_firmware(pugi::xml_node system, pugi::xml_node hardware, OvfMachine& machine) {
  const auto vmware = vmware_setting(hardware, "firmware");
  const auto virtualbox =
      attribute(child(child(child(system, "Machine"), "Hardware"), "Firmware"), "type");
  // oVirt: 0 i440fx SeaBIOS, 1 q35 SeaBIOS, 2 q35 OVMF, 3 q35 OVMF with Secure Boot.
  const auto ovirt = boost::to_lower_copy(child_text(system, "BiosType"));
  const bool ovirt_secure = ovirt == "3" || ovirt == "q35_secure_boot";
  if (vmware == "efi" || boost::istarts_with(virtualbox, "efi") || ovirt == "2" ||
      ovirt == "q35_ovmf" || ovirt_secure) {
    machine.firmware = Firmware::efi;
  }
  machine.secure_boot =
      machine.firmware == Firmware::efi &&
      (ovirt_secure || vmware_setting(hardware, "bootOptions.efiSecureBootEnabled") == "true");
}

/// What tools call the system says more than the standard's id, which ends with what was new then.
void read_system_type(pugi::xml_node system, OvfMachine& machine) {
  const auto all = sections(system, "OperatingSystemSection");
  if (all.empty()) return;
  const auto section = all.front();
  for (const auto& name : {attribute(section, "osType"), child_text(section, "OSType"),
                           child_text(section, "Description")}) {
    const auto type = os_type_of_name(name);
    if (!type) continue;
    machine.os_said = name;
    machine.os_type = *type;
    return;
  }
  machine.os_said = attribute(section, "id");
  const bool digits = !machine.os_said.empty() && machine.os_said.size() < 10 &&
                      machine.os_said.find_first_not_of("0123456789") == std::string::npos;
  machine.os_type = os_type_of_id(digits ? std::stoull(machine.os_said) : 0);
}

void read_nics(const std::vector<OvfItem>& items, OvfMachine& machine) {
  for (const auto& item : items) {
    if (item.type != ethernet && item.type != other_network) continue;
    OvfNic nic{"", item.sub_type, item.text("Connection")};
    const auto model = nic_model_of(nic.said, machine.flavour == "ovirt");
    if (!model) {
      machine.warnings.push_back(
          nic.said.empty()
              ? fmt::format("Network card {} has no model; e1000 is taken.", machine.nics.size())
              : fmt::format("Network card {} is a {}, which Proxmox VE does "
                            "not have; e1000 is taken.",
                            machine.nics.size(), nic.said));
    }
    nic.model = model.value_or("e1000");
    machine.nics.push_back(std::move(nic));
  }
}

void warn_of_the_rest(const OvfXml& xml, pugi::xml_node system, const std::vector<OvfItem>& items,
                      OvfMachine& machine) {
  for (const auto& item : items) {
    const bool medium = item.type == floppy || item.type == cd_drive || item.type == dvd_drive;
    const auto resource = item.text("HostResource");
    if (!medium || resource.empty()) continue;
    machine.warnings.push_back(
        fmt::format("The medium in drive {} ({}) is left out.", item.id, resource));
  }
  for (const auto parent : {xml.root(), system}) {
    for (const auto product : sections(parent, "ProductSection")) {
      if (children(product, "Property").empty()) continue;
      machine.warnings.push_back(
          "It asks for properties (vApp options), which the VM will not be given.");
      return;
    }
  }
}

}  // namespace

OvfMachine parse_ovf(std::string_view text, const std::string& where) {
  if (text.size() > most_text) {
    throw Error{Errc::bad_input, fmt::format("{}: {} bytes are too many for an OVF descriptor; {} "
                                             "are the most that is read",
                                             where, text.size(), most_text)};
  }
  const OvfXml xml{text, where};
  check_envelope(xml);
  OvfMachine out;
  out.version = version_of(xml);
  const auto system = only_system(xml);
  const auto hardware = hardware_of(xml, system, out);
  out.flavour = flavour_of(xml, hardware);
  out.name = child_text(system, "Name");
  if (out.name.empty()) out.name = attribute(system, "id");
  out.files = read_files(xml);
  const auto items = read_items(xml, hardware);
  read_cpus(xml, items, out);
  read_memory(xml, items, out);
  read_firmware(system, hardware, out);
  read_system_type(system, out);
  read_disks(xml, items, out);
  read_nics(items, out);
  warn_of_the_rest(xml, system, items, out);
  return out;
}

}  // namespace px::image
