#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// What words and numbers in an OVF mean.
namespace px::image {

/// ResourceType of CIM_ResourceAllocationSettingData.
enum ResourceType : std::uint64_t {
  not_said = 0,
  processor = 3,
  memory = 4,
  ide_controller = 5,
  scsi_controller = 6,
  fibre_channel_controller = 7,
  iscsi_controller = 8,
  ethernet = 10,
  other_network = 11,
  floppy = 14,
  cd_drive = 15,
  dvd_drive = 16,
  disk_drive = 17,
  other_storage = 20,
  logical_disk = 31,
};

/// Bytes of a unit: `byte * 2^20` (DSP0004, programmatic units), `MegaBytes`, `GB`, `bytes`;
/// an empty text is a byte. None for what is no unit of bytes, or more than 2^63.
std::optional<std::uint64_t> bytes_of_unit(std::string_view unit);

/// Proxmox VE's ostype for a tool's name of a system: ubuntu64Guest (VMware), Windows10_64
/// (VirtualBox), rhel_7x64 (oVirt), "Microsoft Windows Server 2019 (64-bit)". None when it is
/// nobody's name.
std::optional<std::string_view> os_type_of_name(std::string_view name);
/// For an id of CIM_OperatingSystem.OsType; "other" for those that have none.
std::string_view os_type_of_id(std::uint64_t id);

/// Proxmox VE's model for a card's ResourceSubType; none for an unknown one. oVirt's are numbers.
std::optional<std::string_view> nic_model_of(std::string_view sub_type, bool ovirt);

/// Bus of a controller, or of a drive that has none, by its ResourceType (0 = not said) and
/// ResourceSubType: ide, sata, scsi, nvme, virtio; none for other devices.
std::optional<std::string_view> bus_of(std::uint64_t type, std::string_view sub_type);

}  // namespace px::image
