#include "image/ova_writer.hpp"

#include "image/disk_header.hpp"
#include "image/recipe.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"
#include "support/process.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <boost/algorithm/string/trim.hpp>
#include <fmt/format.h>
#include <pugixml.hpp>

#include <fstream>
#include <memory>
#include <sstream>

namespace px::image {

namespace {

namespace fs = std::filesystem;

std::string disk_file(const NewAppliance& appliance, std::size_t index) {
  return fmt::format("{}-disk{}.vmdk", appliance.name, index + 1);
}

// --- the descriptor ------------------------------------------------------------------------------

/// CIM_ResourceAllocationSettingData, ResourceType (DMTF DSP1041).
enum class Resource : int {
  cpu = 3,
  memory = 4,
  ide = 5,
  scsi = 6,
  nic = 10,
  disk = 17,
  sata = 20
};

class Hardware {
 public:
  explicit Hardware(pugi::xml_node section) : section_{section} {}

  /// Elements come in the order of their names, as the schema has them.
  int add(Resource type, const std::string& name,
          const std::vector<std::pair<const char*, std::string>>& more) {
    const int id = ++last_id_;
    std::map<std::string, std::string> elements{
        {"rasd:ElementName", name},
        {"rasd:InstanceID", std::to_string(id)},
        {"rasd:ResourceType", std::to_string(static_cast<int>(type))}};
    for (const auto& [key, value] : more) elements.emplace(std::string{"rasd:"} + key, value);
    auto item = section_.append_child("Item");
    for (const auto& [key, value] : elements) {
      item.append_child(key.c_str()).text().set(value.c_str());
    }
    return id;
  }

 private:
  pugi::xml_node section_;
  int last_id_ = 0;
};

void add_info(pugi::xml_node section, const char* text) {
  section.append_child("Info").text().set(text);
}

void add_hardware(pugi::xml_node system, const NewAppliance& appliance) {
  auto section = system.append_child("VirtualHardwareSection");
  add_info(section, "Virtual hardware");
  Hardware hardware{section};
  hardware.add(
      Resource::cpu, fmt::format("{} virtual CPUs", appliance.vcpus),
      {{"AllocationUnits", "hertz * 10^6"}, {"VirtualQuantity", std::to_string(appliance.vcpus)}});
  hardware.add(Resource::memory, fmt::format("{} MB of memory", appliance.memory_mib),
               {{"AllocationUnits", "byte * 2^20"},
                {"VirtualQuantity", std::to_string(appliance.memory_mib)}});
  const auto& bus = appliance.disk_controller;
  const auto controller =
      bus == "ide"    ? hardware.add(Resource::ide, "IDE controller", {{"Address", "0"}})
      : bus == "sata" ? hardware.add(Resource::sata, "SATA controller",
                                     {{"Address", "0"}, {"ResourceSubType", "AHCI"}})
                      : hardware.add(Resource::scsi, "SCSI controller",
                                     {{"Address", "0"}, {"ResourceSubType", "VirtioSCSI"}});
  for (std::size_t i = 0; i < appliance.disks.size(); ++i) {
    hardware.add(Resource::disk, fmt::format("Disk {}", i + 1),
                 {{"AddressOnParent", std::to_string(i)},
                  {"HostResource", fmt::format("ovf:/disk/disk{}", i + 1)},
                  {"Parent", std::to_string(controller)}});
  }
  const std::map<std::string, std::string> models{
      {"e1000", "E1000"}, {"vmxnet3", "VmxNet3"}, {"virtio", "virtio"}};
  hardware.add(Resource::nic, "Network card",
               {{"AutomaticAllocation", "true"},
                {"Connection", "network"},
                {"ResourceSubType", models.at(appliance.nic_model)}});
  if (appliance.uefi) {
    // OVF 1.0 has no word for firmware; this is VMware's, which other readers know, too.
    auto config = section.append_child("vmw:Config");
    config.append_attribute("ovf:required").set_value("false");
    config.append_attribute("vmw:key").set_value("firmware");
    config.append_attribute("vmw:value").set_value("efi");
  }
}

// --- the tar -------------------------------------------------------------------------------------

class Tar {
 public:
  explicit Tar(const fs::path& path)
      : path_{path}, writer_{archive_write_new(), &archive_write_free} {
    archive_write_set_format_ustar(writer_.get());
    check(archive_write_open_filename(writer_.get(), path.c_str()));
  }

  void add(const std::string& name, std::istream& bytes, std::uint64_t size) {
    const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry{archive_entry_new(),
                                                                              &archive_entry_free};
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size));
    check(archive_write_header(writer_.get(), entry.get()));
    std::string piece(1 << 20, '\0');
    while (bytes.read(piece.data(), static_cast<std::streamsize>(piece.size())) ||
           bytes.gcount() > 0) {
      const auto count = static_cast<std::size_t>(bytes.gcount());
      if (archive_write_data(writer_.get(), piece.data(), count) !=
          static_cast<la_ssize_t>(count)) {
        check(ARCHIVE_FATAL);
      }
    }
  }
  void add(const std::string& name, const std::string& text) {
    std::istringstream bytes{text};
    add(name, bytes, text.size());
  }
  void close() { check(archive_write_close(writer_.get())); }

 private:
  void check(int result) const {
    if (result == ARCHIVE_OK) return;
    throw Error{Errc::rejected,
                fmt::format("{}: {}", path_.string(), archive_error_string(writer_.get()))};
  }

  fs::path path_;
  std::unique_ptr<archive, decltype(&archive_write_free)> writer_;
};

// --- the disks -----------------------------------------------------------------------------------

/// A folder beside the target, for the converted disks.
class Workshop {
 public:
  explicit Workshop(const fs::path& target)
      : path_{fs::path{target} += fmt::format(".{}.tmp", random_hex(8))} {
    std::error_code error;
    if (!fs::create_directory(path_, error)) {
      throw_bad_input("output", target.string(),
                      fmt::format("its folder can't be written to: {}", error.message()));
    }
  }
  ~Workshop() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;
  const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

DiskSizes convert(const fs::path& disk, const fs::path& target) {
  const auto header = read_disk_header(disk);
  if (header.compression != Compression::none) {
    throw_bad_input("disk", disk.string(),
                    fmt::format("it is compressed by {}; unpack it", name_of(header.compression)));
  }
  ToolResult done;
  try {
    done = run_tool({"qemu-img", "convert", "-f", std::string{name_of(header.format)}, "-O", "vmdk",
                     "-o", "subformat=streamOptimized", fs::absolute(disk), target});
  } catch (const Error& error) {
    throw Error{Errc::unsupported, error.said}.with_hint("Install qemu-utils.");
  }
  if (done.exit_code != 0) {
    throw Error{Errc::rejected,
                fmt::format("{}: {}", disk.string(), boost::algorithm::trim_copy(done.errors))};
  }
  return {fs::file_size(target), read_disk_header(target).virtual_size};
}

}  // namespace

std::string ovf_text(const NewAppliance& appliance, const std::vector<DiskSizes>& sizes) {
  pugi::xml_document document;
  auto envelope = document.append_child("Envelope");
  for (const auto& [name, value] : std::vector<std::pair<const char*, const char*>>{
           {"xmlns", "http://schemas.dmtf.org/ovf/envelope/1"},
           {"xmlns:ovf", "http://schemas.dmtf.org/ovf/envelope/1"},
           {"xmlns:rasd",
            "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"},
           {"xmlns:vmw", "http://www.vmware.com/schema/ovf"}}) {
    envelope.append_attribute(name).set_value(value);
  }
  auto references = envelope.append_child("References");
  auto disks = envelope.append_child("DiskSection");
  add_info(disks, "Virtual disks");
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    auto file = references.append_child("File");
    file.append_attribute("ovf:href").set_value(disk_file(appliance, i).c_str());
    file.append_attribute("ovf:id").set_value(fmt::format("file{}", i + 1).c_str());
    file.append_attribute("ovf:size").set_value(std::to_string(sizes[i].file).c_str());
    auto disk = disks.append_child("Disk");
    disk.append_attribute("ovf:capacity").set_value(std::to_string(sizes[i].capacity).c_str());
    disk.append_attribute("ovf:diskId").set_value(fmt::format("disk{}", i + 1).c_str());
    disk.append_attribute("ovf:fileRef").set_value(fmt::format("file{}", i + 1).c_str());
    disk.append_attribute("ovf:format")
        .set_value("http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized");
  }
  auto networks = envelope.append_child("NetworkSection");
  add_info(networks, "Networks");
  auto network = networks.append_child("Network");
  network.append_attribute("ovf:name").set_value("network");
  network.append_child("Description").text().set("The network of its card");
  auto system = envelope.append_child("VirtualSystem");
  system.append_attribute("ovf:id").set_value(appliance.name.c_str());
  add_info(system, "A virtual machine");
  system.append_child("Name").text().set(appliance.name.c_str());
  auto os = system.append_child("OperatingSystemSection");
  // CIM_OperatingSystem, OsType: Linux 64-bit, Windows 10 64-bit.
  os.append_attribute("ovf:id").set_value(appliance.windows ? "121" : "101");
  os.append_attribute("vmw:osType")
      .set_value(appliance.windows ? "windows9_64Guest" : "otherLinux64Guest");
  add_info(os, "The guest's system");
  add_hardware(system, appliance);
  std::ostringstream out;
  document.save(out, "  ");
  return out.str();
}

void write_ova(const NewAppliance& appliance, const fs::path& target,
               const std::function<void(const std::string&)>& stage) {
  if (fs::exists(target)) throw_bad_input("output", target.string(), "it is there already");
  const Workshop workshop{target};
  std::vector<DiskSizes> sizes;
  std::string manifest;
  for (std::size_t i = 0; i < appliance.disks.size(); ++i) {
    stage(fmt::format("compressing {}", appliance.disks[i].string()));
    const auto file = workshop.path() / disk_file(appliance, i);
    sizes.push_back(convert(appliance.disks[i], file));
    manifest += fmt::format("SHA256({})= {}\n", file.filename().string(), file_sha256(file));
  }
  const auto descriptor = ovf_text(appliance, sizes);
  manifest = fmt::format("SHA256({}.ovf)= {}\n", appliance.name, sha256_hex(descriptor)) + manifest;
  stage(fmt::format("writing {}", target.string()));
  const auto unfinished = workshop.path() / "ova";
  Tar tar{unfinished};
  tar.add(appliance.name + ".ovf", descriptor);
  tar.add(appliance.name + ".mf", manifest);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const auto file = workshop.path() / disk_file(appliance, i);
    std::ifstream bytes{file, std::ios::binary};
    tar.add(file.filename().string(), bytes, sizes[i].file);
    fs::remove(file);
  }
  tar.close();
  fs::rename(unfinished, target);
}

}  // namespace px::image
