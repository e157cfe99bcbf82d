#pragma once
#include "node/storage/storages.hpp"

#include <optional>

/// OVA files in a storage: tars of an OVF description and of disks (pve-storage GuestImport.pm and
/// GuestImport/OVF.pm; exchange 16).
namespace px::node {

/// A disk inside of an OVA: `local:import/box.ova/disk.vmdk`.
struct OvaMember {
  std::string archive_id;         ///< local:import/box.ova
  std::filesystem::path archive;  ///< its file
  std::string name;               ///< disk.vmdk
  std::string format;             ///< vmdk, qcow2 or raw
};
/// Nothing when the volume is no file inside of an OVA.
std::optional<OvaMember> find_ova_member(const Storages& storages, const std::string& volume_id);

/// Writes the disk to `target`. Blocks. Throws Error{rejected} "error during extraction: ...".
void extract_ova_member(const OvaMember& member, const std::filesystem::path& target);

/// Throws Error{rejected} when the file is no tar, or holds no OVF. Blocks.
void check_ova(const std::filesystem::path& archive);

/// What GET import-metadata answers: a VM's options, its disks and NICs, as the OVF describes them.
/// `archive_id` names the OVA's disks. Blocks. Throws Error{rejected}.
json::object describe_ova(const std::filesystem::path& archive, const std::string& archive_id);

}  // namespace px::node
