#pragma once
#include "image/disk_header.hpp"
#include "image/manifest.hpp"
#include "image/ova_members.hpp"
#include "image/ovf.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

/// Appliances: an OVA (a tar of a descriptor, a manifest and disks), or an .ovf file with its disks
/// beside it. An OVA is used where it is, nothing is unpacked. All of this blocks: run_in_pool().
namespace px::image {

/// A disk, and where its bytes are.
struct ApplianceDisk {
  std::string id;              ///< as in the descriptor
  std::string file;            ///< member, or path beside the descriptor; empty: an empty disk
  std::string controller;      ///< scsi, ide, sata, nvme, virtio
  std::string scsi_model;      ///< as written (lsilogic, virtualscsi, ...), lower case, or empty
  std::filesystem::path path;  ///< the OVA itself, or the disk's file
  std::uint64_t offset = 0;    ///< of its bytes in `path`
  std::uint64_t size = 0;      ///< bytes there; 0 for an empty disk
  bool gzip = false;           ///< the bytes are a gzip stream of the disk
  /// From its header; of a gzip stream, what the descriptor says.
  DiskFormat format = DiskFormat::raw;
  std::string kind;            ///< "streamOptimized", ...
  std::uint64_t capacity = 0;  ///< bytes that the guest sees: the header's, else the descriptor's
};

struct Appliance {
  std::filesystem::path path;  ///< the .ova or .ovf
  bool packed = false;         ///< an OVA
  OvfMachine machine;
  std::vector<ApplianceDisk> disks;  ///< as machine.disks: the one that boots first
  /// Of an OVA all; else the descriptor and what it and the manifest name, at offset 0 of files
  /// beside it.
  std::vector<Member> members;
  std::string descriptor;               ///< its member
  std::vector<ManifestEntry> manifest;  ///< names are members; empty when there is none
  std::vector<std::string> warnings;    ///< the machine's, and those of disks and manifest
};

/// Reads headers and the descriptor only, so an OVA's size does not matter. `path` is an .ovf by
/// its ending, else an OVA. Throws Error{bad_input} naming file, member and offset for all that is
/// wrong before any sum is made (docs/images.md).
Appliance read_ova(const std::filesystem::path& path);

struct MemberSum {
  std::string name;
  std::string sha256;
};

struct OvaSums {
  /// Of an OVA the SHA-256 of the whole file, as sha256sum gives it. Of an .ovf, that of the text
  /// `SHA256  NAME\n` of each of its members.
  std::string sha256;
  std::vector<MemberSum> members;  ///< of each, in order
};

/// `done` and `total` bytes. May throw: that ends the check.
using CheckProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// One pass over all bytes, in constant memory. Throws Error{bad_input} for a sum that is not the
/// manifest's, and for a file that is not as long as it was.
OvaSums check_ova(const Appliance& appliance, const CheckProgress& progress = {});

}  // namespace px::image
