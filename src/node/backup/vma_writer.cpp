#include "node/backup/vma_writer.hpp"

#include "support/error.hpp"

#include <boost/endian/conversion.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace px::node {

namespace {

using namespace vma;
namespace endian = boost::endian;

unsigned char* at(std::string& bytes, std::size_t offset) {
  return reinterpret_cast<unsigned char*>(bytes.data()) + offset;
}

/// Texts of the header, each behind its length; found by their place. Place 0 means none.
class Blobs {
 public:
  std::uint32_t add(const std::string& what, const std::string& bytes) {
    if (bytes.size() > 0xFFFF) {
      throw Error{Errc::rejected,
                  fmt::format("{} has {} bytes; a VMA archive holds 65535", what, bytes.size())};
    }
    const auto place = static_cast<std::uint32_t>(bytes_.size());
    // The format's only little-endian number.
    bytes_ += static_cast<char>(bytes.size() & 0xFF);
    bytes_ += static_cast<char>(bytes.size() >> 8);
    bytes_ += bytes;
    return place;
  }
  /// A text ends with a NUL.
  std::uint32_t add_text(const std::string& text) { return add(text, text + '\0'); }

  std::string padded() const {
    std::string out = bytes_;
    out.resize((out.size() + 511) / 512 * 512, '\0');
    return out;
  }

 private:
  std::string bytes_ = std::string(1, '\0');
};

std::string header_bytes(const VmaHeader& header) {
  if (header.devices.size() > most_devices || header.configs.size() > most_configs) {
    throw Error{Errc::rejected, "a VMA archive holds 255 disks"};
  }
  std::string out(header_size, '\0');
  Blobs blobs;
  out.replace(0, 4, std::string_view{"VMA\0", 4});
  endian::store_big_u32(at(out, at_version), format_version);
  out.replace(at_uuid, 16, header.uuid);
  endian::store_big_s64(at(out, at_ctime), header.ctime);
  std::size_t index = 0;
  for (const auto& [name, text] : header.configs) {
    endian::store_big_u32(at(out, at_config_names + 4 * index), blobs.add_text(name));
    endian::store_big_u32(at(out, at_config_data + 4 * index), blobs.add(name, text));
    ++index;
  }
  for (const auto& [number, device] : header.devices) {
    const auto place = at_devices + device_size * number;
    endian::store_big_u32(at(out, place), blobs.add_text(device.name));
    endian::store_big_u64(at(out, place + device_at_bytes), device.bytes);
  }
  const auto texts = blobs.padded();
  endian::store_big_u32(at(out, at_blobs_offset), header_size);
  endian::store_big_u32(at(out, at_blobs_size), static_cast<std::uint32_t>(texts.size()));
  endian::store_big_u32(at(out, at_header_size),
                        static_cast<std::uint32_t>(header_size + texts.size()));
  out += texts;
  out.replace(at_md5, md5_size, md5_without(out, at_md5));
  return out;
}

bool is_zero(std::span<const char> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
}

}  // namespace

VmaWriter::VmaWriter(const VmaHeader& header, Sink sink)
    : sink_{std::move(sink)}, uuid_{header.uuid}, extent_(extent_header_size, '\0') {
  sink_(header_bytes(header));
}

void VmaWriter::add(std::uint8_t device, std::uint32_t cluster,
                    std::span<const char, cluster_size> bytes) {
  std::uint16_t mask = 0;
  for (std::size_t i = 0; i < blocks_in_cluster; ++i) {
    const auto block = bytes.subspan(i * block_size, block_size);
    if (is_zero(block)) continue;
    mask = static_cast<std::uint16_t>(mask | (1U << i));
    blocks_.append(block.data(), block.size());
  }
  put(device, cluster, mask);
}

void VmaWriter::add_zeros(std::uint8_t device, std::uint32_t cluster) {
  put(device, cluster, 0);
}

void VmaWriter::put(std::uint8_t device, std::uint32_t cluster, std::uint16_t mask) {
  const auto info = std::uint64_t{mask} << 48 | std::uint64_t{device} << 32 | cluster;
  endian::store_big_u64(at(extent_, extent_at_clusters + 8 * clusters_), info);
  if (++clusters_ == clusters_in_extent) finish();
}

void VmaWriter::finish() {
  if (clusters_ == 0) return;
  extent_.replace(0, 4, "VMAE");
  endian::store_big_u16(at(extent_, extent_at_blocks),
                        static_cast<std::uint16_t>(blocks_.size() / block_size));
  extent_.replace(extent_at_uuid, 16, uuid_);
  extent_.replace(extent_at_md5, md5_size, md5_without(extent_, extent_at_md5));
  sink_(extent_);
  sink_(blocks_);
  extent_.assign(extent_header_size, '\0');
  blocks_.clear();
  clusters_ = 0;
}

}  // namespace px::node
