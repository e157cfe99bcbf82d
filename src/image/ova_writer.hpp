#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

/// From disks to an appliance: a valid OVF 1.0 descriptor, a SHA-256 manifest and stream-optimised
/// VMDKs in a tar, in the order that DSP0243 section 5.3 wants.
namespace px::image {

struct NewAppliance {
  std::string name;  ///< letters, digits, - and .; files are called after it
  int vcpus = 2;
  int memory_mib = 2048;
  bool uefi = false;
  bool windows = false;
  std::string disk_controller = "scsi";  ///< scsi, ide, sata
  std::string nic_model = "e1000";       ///< e1000, vmxnet3, virtio
  std::vector<std::filesystem::path>
      disks;  ///< any format that qemu-img reads, the first one boots
};

/// Writes `target`, beside which there is room for the disks once more; at a failure it is not
/// there. `stage` is told what is being done. Blocks as long as compression takes. Errors:
/// bad_input (a disk that can't be read, a target that is there), unsupported (no qemu-img),
/// rejected (qemu-img's own words, no room).
void write_ova(const NewAppliance& appliance, const std::filesystem::path& target,
               const std::function<void(const std::string& stage)>& stage);

/// The descriptor alone. `sizes`: bytes of each disk's file and for its guest.
struct DiskSizes {
  std::uint64_t file = 0;
  std::uint64_t capacity = 0;
};
std::string ovf_text(const NewAppliance& appliance, const std::vector<DiskSizes>& sizes);

}  // namespace px::image
