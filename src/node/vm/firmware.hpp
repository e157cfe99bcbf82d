#pragma once
#include "node/vm/vm_config.hpp"

#include <filesystem>
#include <string>

/// The UEFI firmware that is installed on this machine.
namespace px::node {

/// A firmware and the template of its variables; empty paths when it is not installed.
struct UefiFirmware {
  std::string wanted_code;  ///< the files' names in Debian's package, for messages
  std::string wanted_variables;
  std::filesystem::path code;
  std::filesystem::path variables;
};

/// The firmwares that an EFI disk can ask for (qemu-server OVMF.pm).
struct UefiFirmwares {
  UefiFirmware standard{"OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd", {}, {}};
  /// With Microsoft's keys, which machines of type q35 enforce.
  UefiFirmware secure_boot{"OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd", {}, {}};
  /// Of 2 MiB, which newer distributions no longer have.
  UefiFirmware small{"OVMF_CODE.fd", "OVMF_VARS.fd", {}, {}};

  /// That of an efidisk0 with these properties. Without `efitype` it is the one of 4 MiB, where
  /// Proxmox VE still takes the other.
  const UefiFirmware& of(const Properties& efi_disk) const;
};

/// Whether an efidisk0 has keys enrolled.
bool wants_secure_boot(const Properties& efi_disk);

/// Looks where the distributions put them.
UefiFirmwares find_uefi_firmwares();

}  // namespace px::node
