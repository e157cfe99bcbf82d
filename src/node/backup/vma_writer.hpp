#pragma once
#include "node/backup/vma.hpp"

#include <functional>

namespace px::node {

/// Writes a VMA archive: the header at once, then the clusters as they come.
class VmaWriter {
 public:
  using Sink = std::function<void(std::span<const char>)>;

  /// Throws Error{rejected} when a configuration is larger than 64 KiB or there are more than 255
  /// devices: the format has no more room.
  VmaWriter(const VmaHeader& header, Sink sink);

  /// One cluster: 64 KiB, filled up with zeros behind the device's end.
  void add(std::uint8_t device, std::uint32_t cluster,
           std::span<const char, vma::cluster_size> bytes);
  /// The same for a cluster of zeros.
  void add_zeros(std::uint8_t device, std::uint32_t cluster);
  /// Writes what is still in memory. Without it the archive is not whole.
  void finish();

 private:
  void put(std::uint8_t device, std::uint32_t cluster, std::uint16_t mask);

  Sink sink_;
  std::string uuid_;
  std::string extent_;  ///< its header
  std::string blocks_;
  std::size_t clusters_ = 0;
};

}  // namespace px::node
