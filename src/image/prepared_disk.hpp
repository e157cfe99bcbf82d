#pragma once
#include "image/recipe.hpp"
#include "pve/body_source.hpp"

#include <filesystem>
#include <memory>
#include <string>

/// A disk as a server takes it: qcow2, raw or VMDK, not compressed (pve-facts section 10). What is
/// something else is unpacked and converted here first, in a folder of its own that goes away with
/// the object.
namespace px::image {

class PreparedDisk {
 public:
  /// Unpacks and converts where that is needed; as large as the disk then, in
  /// `${XDG_CACHE_HOME:-~/.cache}/proxmox-sandbox/unpacked`. Blocks: run_in_pool(). Errors:
  /// bad_input naming the file (broken, no disk inside), unsupported (qemu-img is missing),
  /// rejected (no room left, in the folder's name).
  explicit PreparedDisk(RecipeDisk disk);
  ~PreparedDisk();
  PreparedDisk(const PreparedDisk&) = delete;
  PreparedDisk& operator=(const PreparedDisk&) = delete;

  /// Of an upload's file name: qcow2, raw, vmdk.
  std::string extension() const;
  std::unique_ptr<pve::BodySource> source(asio::thread_pool& pool) const;
  std::uint64_t capacity() const noexcept { return disk_.capacity; }

 private:
  void unpack();
  void convert();
  const std::filesystem::path& folder();

  RecipeDisk disk_;
  std::filesystem::path folder_;
};

}  // namespace px::image
