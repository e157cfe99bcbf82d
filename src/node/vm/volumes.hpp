#pragma once
#include "node/vm/disk_import.hpp"

namespace px::node {

/// The disks of a VM as volumes of the node's storages: what a drive option asks for is made, and
/// the option then names it. Source: exchanges 04, 08 and 10.
class Volumes {
 public:
  explicit Volumes(VmServices services) : services_{services}, import_{services_} {}

  /// Whether the drive asks for a new disk: `STORAGE:GIB`, with `import-from` or without, or
  /// `STORAGE:cloudinit`.
  static bool is_request(const Drive& drive);
  /// What can be seen before the work: storages and syntax. For a drive that names a volume, that
  /// it is there. Throws ApiError 400 or 500.
  void check(const Drive& drive, const ImportOptions& imports) const;

  /// Makes the disk; afterwards the drive names it, with its size.
  awaitable<void> make(int vmid, Drive& drive, ImportOptions imports, TaskLog& log) const;
  /// An empty image for a VM's cloud-init drive; afterwards the drive names it. Throws ApiError 500
  /// when there is one.
  void reserve_cloud_init(int vmid, Drive& drive, const std::string& storage) const;
  /// A linked clone of a template's disk, or a full copy.
  awaitable<void> link(int vmid, Drive& drive, TaskLog& log) const;
  awaitable<void> copy(int vmid, Drive& drive, std::string storage, std::string format,
                       TaskLog& log) const;
  /// Makes a VM's disk a template's: `vm-100-disk-0` becomes `base-100-disk-0`. The old name stays
  /// until drop_old_name(), so that the configuration always names a file that is there.
  void turn_into_base(int vmid, Drive& drive) const;
  void drop_name(const std::string& volume) const;

  /// Makes a volume of a raw file, which is gone afterwards; returns its id.
  awaitable<std::string> adopt(int vmid, std::string storage, std::string format,
                               std::filesystem::path raw) const;

  awaitable<void> remove(std::string volume) const;
  awaitable<void> resize(const Drive& drive, std::uint64_t bytes) const;

  /// Disks (not CD media) that live in the VM's own folder.
  static bool is_own_disk(int vmid, const Drive& drive);
  /// Whether it is a template's disk.
  static bool is_base(const std::string& volume);
  /// A volume's id without the base that a linked clone's names first: STORAGE:VMID/FILE.
  static std::string own_name(const std::string& volume);
  /// The format of a volume's file, by its name.
  static std::string format_of(const std::string& volume);

 private:
  /// A free `vm-ID-disk-N.EXT` in the VM's folder; the file is made at once, so that it is taken.
  std::string reserve(const std::string& storage, int vmid, const std::string& format) const;
  std::filesystem::path path(const std::string& volume) const;
  awaitable<std::uint64_t> import(int vmid, Drive& drive, ImportOptions imports,
                                  TaskLog& log) const;
  awaitable<void> make_efi_variables(int vmid, Drive& drive, TaskLog& log) const;

  VmServices services_;
  DiskImport import_;
};

}  // namespace px::node
