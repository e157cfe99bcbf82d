#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

/// The VMA format, in which Proxmox VE backs up VMs: vma_spec.txt and vma.h of pve-qemu
/// (guest-facts section 7). Big-endian but for the lengths in the header's blobs. A header, then
/// extents of up to 59 clusters of the disks, in any order; a cluster's blocks of zeros are left
/// out.
namespace px::node {

namespace vma {

constexpr std::size_t block_size = 4096;
constexpr std::size_t blocks_in_cluster = 16;
constexpr std::size_t cluster_size = block_size * blocks_in_cluster;
constexpr std::size_t clusters_in_extent = 59;

/// The header's fields.
constexpr std::size_t header_size = 12288;
constexpr std::uint32_t format_version = 1;
constexpr std::size_t at_version = 4;
constexpr std::size_t at_uuid = 8;
constexpr std::size_t at_ctime = 24;
constexpr std::size_t at_md5 = 32;
constexpr std::size_t at_blobs_offset = 48;
constexpr std::size_t at_blobs_size = 52;
constexpr std::size_t at_header_size = 56;
constexpr std::size_t at_config_names = 2044;
constexpr std::size_t at_config_data = 3068;
constexpr std::size_t at_devices = 4096;
constexpr std::size_t device_size = 32;
constexpr std::size_t device_at_bytes = 8;
constexpr std::size_t most_configs = 256;
constexpr std::size_t most_devices = 255;  ///< 1..255

/// An extent's header.
constexpr std::size_t extent_header_size = 512;
constexpr std::size_t extent_at_blocks = 6;
constexpr std::size_t extent_at_uuid = 8;
constexpr std::size_t extent_at_md5 = 24;
constexpr std::size_t extent_at_clusters = 40;

constexpr std::size_t md5_size = 16;
/// MD5 of `bytes` with the 16 bytes at `at` taken as zeros: how headers are protected.
std::string md5_without(std::span<const char> bytes, std::size_t at);

}  // namespace vma

struct VmaDevice {
  std::string name;  ///< drive-scsi0
  std::uint64_t bytes = 0;
};

struct VmaHeader {
  std::string uuid;                              ///< 16 bytes
  std::int64_t ctime = 0;                        ///< seconds since 1970
  std::map<std::string, std::string> configs{};  ///< qemu-server.conf
  std::map<std::uint8_t, VmaDevice> devices{};   ///< by number, from 1
};

/// The clusters of a device; the last one may be cut short by the device's end.
std::uint64_t clusters_of(const VmaDevice& device);

}  // namespace px::node
