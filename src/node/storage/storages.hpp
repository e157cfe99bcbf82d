#pragma once
#include "node/route.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace px::node {

/// One storage: a folder, laid out as Proxmox VE's `dir` storages.
struct Storage {
  std::string id;
  std::vector<std::string> content;  ///< iso, import, images, ...
  std::filesystem::path folder;
  bool shared = false;  ///< all nodes of the cluster see the same folder
  bool holds(std::string_view what) const;
  /// Where the files of a content type are.
  std::filesystem::path folder_of(std::string_view what) const;
};

/// A volume id: STORAGE:REST, where REST is `iso/a.iso`, `import/a.qcow2`,
/// `101/vm-101-disk-0.qcow2`, or `100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2` of a linked
/// clone (its own file is the last two pieces).
struct Volume {
  std::string id;
  std::string storage;
  std::string content;
  std::filesystem::path path;

  /// The VM whose disk it is, by its folder; 0 = none.
  int owner() const;
};

/// The storages of one node: `local` (iso, import, images, backup) and `local-lvm` (images) in its
/// directory. In a cluster there is `shared`, too, which holds what `local` does.
class Storages {
 public:
  /// `shared`: the folder of the cluster's storage; empty = none.
  explicit Storages(std::filesystem::path directory, std::filesystem::path shared = {});

  const std::vector<Storage>& all() const noexcept { return storages_; }
  /// Throws ApiError 500 "storage 'x' does not exist".
  const Storage& get(std::string_view id) const;
  /// Where a volume's file is, whether it exists or not. Throws ApiError 500 for what is no
  /// volume id, or names another folder.
  Volume resolve(std::string_view volume_id) const;
  /// The same; throws ApiError 500 "volume '...' does not exist" when the file isn't there.
  Volume existing(std::string_view volume_id) const;
  /// Of the volume's storage. Throws ApiError 500 as get() does.
  bool is_shared(std::string_view volume_id) const;
  /// The folder for a VM's disks (made), and the id of a disk in it.
  std::filesystem::path images_folder(std::string_view storage, std::string_view vmid) const;
  /// Where uploads are written while they come in.
  std::filesystem::path spool_folder() const { return spool_; }

 private:
  std::filesystem::path spool_;
  std::vector<Storage> storages_;
};

}  // namespace px::node
