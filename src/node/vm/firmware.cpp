#include "node/vm/firmware.hpp"

#include <initializer_list>

namespace px::node {

namespace {

struct FirmwarePlace {
  const char* code;
  const char* variables;
};

void look_for(UefiFirmware& firmware, std::initializer_list<FirmwarePlace> places) {
  for (const auto& place : places) {
    if (std::filesystem::exists(place.code) && std::filesystem::exists(place.variables)) {
      firmware.code = place.code;
      firmware.variables = place.variables;
      return;
    }
  }
}

}  // namespace

const UefiFirmware& UefiFirmwares::of(const Properties& efi_disk) const {
  if (efi_disk.get("efitype") == "2m") return small;
  return wants_secure_boot(efi_disk) ? secure_boot : standard;
}

bool wants_secure_boot(const Properties& efi_disk) {
  return efi_disk.get("efitype") == "4m" && efi_disk.flag("pre-enrolled-keys");
}

UefiFirmwares find_uefi_firmwares() {
  UefiFirmwares found;
  // Debian and Ubuntu (ovmf), then Fedora and Arch, whose only firmware has its own size.
  look_for(found.standard,
           {{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
            {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
            {"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
            {"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"}});
  look_for(
      found.secure_boot,
      {{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"},
       {"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"}});
  look_for(found.small, {{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"}});
  return found;
}

}  // namespace px::node
