#pragma once
#include "image/built_in.hpp"
#include "image/disk_header.hpp"
#include "image/file_sum.hpp"
#include "pve/ids.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// From what a user names to what a template is made of.
namespace px::image {

/// What a content tag begins with.
inline constexpr std::string_view content_prefix = "inspect-src-";

/// What a VM is to be cloned from: one of the first six is set.
struct TemplateRequest {
  std::string built_in;
  std::string existing_tag;
  std::string existing_backup;
  std::filesystem::path ova;           ///< or a URL, with a checksum
  std::filesystem::path disk;          ///< or a URL, with a checksum
  std::string iso{};                   ///< a file here, or a volume on the server: is_iso_volume()
  std::optional<Checksum> checksum{};  ///< of the file behind `ova`, `disk` or `iso`

  bool uefi = false;
  bool secure_boot = false;              ///< Microsoft's keys are enrolled; needs uefi
  std::string disk_controller{};         ///< scsi, ide; empty: as the source says, else scsi
  std::string os_type = "l26";           ///< Proxmox VE's ostype
  std::optional<std::string> storage{};  ///< of its disks; else the server's image storage
  int disk_gb = 32;                      ///< with `iso`: of the empty disk
};

/// A disk: its bytes on this machine, and its place in the VM.
struct RecipeDisk {
  std::string slot;            ///< scsi0, ide1...
  std::filesystem::path path;  ///< empty: an empty disk of `capacity`
  std::string member{};        ///< of an OVA
  std::uint64_t offset = 0;    ///< of its bytes in `path`
  std::uint64_t size = 0;      ///< bytes there
  DiskFormat format = DiskFormat::raw;
  Compression compression = Compression::none;
  std::uint64_t capacity = 0;  ///< bytes that the guest sees; 0: unknown before it is unpacked
};

/// What a VM boots from to be installed, or to run without a disk.
struct InstallMedium {
  std::filesystem::path path;  ///< empty: it is on the server
  std::string file_name;       ///< that it gets there, by its content
  std::uint64_t size = 0;      ///< bytes
  std::optional<pve::VolumeId> volume{};
};

/// A file of the web that its checksum tells.
struct WebSource {
  std::string url;
  Checksum checksum;
};

struct Recipe {
  std::string title;        ///< for people: victim.ova
  std::string name;         ///< of the VM: inspect-victim
  std::string content_tag;  ///< same content and same shape, same tag
  std::string source_tag;   ///< builtin-NAME, ova-FILE-BYTES: as the existing provider has it
  std::vector<RecipeDisk> disks;
  const BuiltIn* built_in = nullptr;      ///< what it is, if it is one
  std::optional<InstallMedium> medium{};  ///< in a CD-ROM drive, which it boots from
  std::optional<WebSource> web{};         ///< what the disks are in, while their path is its URL
  std::optional<pve::VolumeId> archive;   ///< a backup that it is restored from; without disks then
  std::string scsihw = "virtio-scsi-pci";
  bool uefi = false;
  bool secure_boot = false;
  std::string os_type;
};

/// Reads a source's headers and makes its sum (that of a URL is given); blocks as long as that
/// takes: run_in_pool(). Not for `existing_*`. Errors: bad_input naming the file, or its sum when
/// it has another one than `checksum`; not_found (a built-in whose file is nowhere;
/// the text says how to get it).
Recipe recipe_of(const TemplateRequest& request);

/// Of an ISO on the server, which is told apart by its name, size and time.
Recipe recipe_of_iso_volume(const TemplateRequest& request, pve::VolumeId volume,
                            std::string_view identity);

/// Of a backup on the server. `identity`: what changes when the archive does.
Recipe recipe_of_backup(const TemplateRequest& request, pve::VolumeId archive,
                        std::string_view identity);

/// A disk that is a file, or is packed in one. Errors: bad_input naming the file.
RecipeDisk disk_of_file(const std::filesystem::path& file, std::string slot);

/// The disk of a built-in whose file is not here: it comes from its URL.
void take_from_web(const BuiltIn& built_in, std::string slot, Recipe& recipe);

}  // namespace px::image
