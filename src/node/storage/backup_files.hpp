#pragma once
#include "support/json.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

/// The files of backups in a storage's `dump` folder, as Proxmox VE names them (pve-storage
/// Storage.pm, archive_info): ARCHIVE, and beside it ARCHIVE.notes and ARCHIVE.protected.
namespace px::node {

/// What an archive's name says: `vzdump-qemu-145-2026_11_24-06_52_55.vma.zst`.
struct ArchiveName {
  int vmid = 0;
  std::int64_t ctime = 0;  ///< seconds since 1970, of the local time in the name
  std::string format;      ///< `vma`, `vma.zst`, `vma.gz`, `vma.lzo`
};
/// Nothing for what is no archive of a VM.
std::optional<ArchiveName> parse_archive_name(const std::string& name);
/// `suffix`: `.vma`, `.vma.zst`...
std::string make_archive_name(int vmid, std::int64_t ctime, std::string_view suffix);

/// Adds `notes` and `protected` of an archive to a description of it.
void add_attributes(const std::filesystem::path& archive, json::object& out);
void set_notes(const std::filesystem::path& archive, const std::string& notes);
void set_protected(const std::filesystem::path& archive, bool on);
bool is_protected(const std::filesystem::path& archive);
/// After the archive itself was removed.
void remove_attributes(const std::filesystem::path& archive);

}  // namespace px::node
