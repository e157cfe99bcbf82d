#pragma once
#include "node/backup/vma.hpp"

#include <functional>

namespace px::node {

/// Reads a VMA archive from its start to its end, with a few megabytes of memory whatever the
/// archive says. Throws Error{rejected} naming the offset of what is wrong.
class VmaReader {
 public:
  /// Fills the span; returns how many bytes, fewer only at the end.
  using Source = std::function<std::size_t(std::span<char>)>;
  /// Bytes of a device that are not all zeros, never behind its end. What is not written is zero.
  using Write =
      std::function<void(std::uint8_t device, std::uint64_t offset, std::span<const char> bytes)>;

  /// Reads the header.
  explicit VmaReader(Source source);
  const VmaHeader& header() const noexcept { return header_; }

  /// One extent; false at the end of the archive, when each cluster of each device was there.
  bool read_extent(const Write& write);
  /// Of all devices, so far.
  std::uint64_t clusters_read() const noexcept { return clusters_read_; }
  std::uint64_t clusters() const noexcept;

 private:
  void read_header();
  std::string read(std::size_t size, const char* what);
  void read_clusters(const std::string& extent, const std::string& blocks, const Write& write);
  void write_blocks(std::uint8_t device, std::uint64_t offset, std::uint16_t mask,
                    std::span<const char> blocks, const Write& write) const;
  void check_whole() const;
  [[noreturn]] void fail(const std::string& what) const;

  Source source_;
  VmaHeader header_;
  std::uint64_t offset_ = 0;  ///< of the part that is being read
  std::uint64_t next_ = 0;    ///< of the part behind it
  std::map<std::uint8_t, std::uint64_t> clusters_of_device_;
  std::uint64_t clusters_read_ = 0;
};

}  // namespace px::node
