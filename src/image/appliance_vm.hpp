#pragma once
#include "image/ova.hpp"

#include <string>
#include <utility>
#include <vector>

namespace px::image {

/// An appliance in the words of Proxmox VE's VM options.
struct ApplianceVm {
  std::string name;    ///< a DNS name, or empty
  std::string bios;    ///< seabios, ovmf
  std::string scsihw;  ///< empty without a SCSI disk
  std::string os_type;
  std::vector<std::string> slots;       ///< of each disk: scsi0, sata1, ...
  std::vector<std::string> nic_models;  ///< of each card
  std::vector<std::string> warnings;    ///< where Proxmox VE has no such thing, and what is taken
};

/// Where a source's controller has no counterpart the nearest that a guest has drivers for is
/// taken, with a warning. Throws Error{bad_input} when there are more disks on a bus than Proxmox
/// VE has room for (ide 4, sata 6, scsi 31, virtio 16: qemu-server, Drive.pm).
ApplianceVm vm_of(const Appliance& appliance);

/// Option and value, in the order that people read them; disks as their files.
std::vector<std::pair<std::string, std::string>> options_of(const Appliance& appliance,
                                                            const ApplianceVm& vm);

}  // namespace px::image
