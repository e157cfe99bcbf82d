#include "node/backup/vma_reader.hpp"

#include "support/error.hpp"

#include <boost/endian/conversion.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <optional>

namespace px::node {

namespace {

using namespace vma;
namespace endian = boost::endian;

/// Room for 256 configurations of 64 KiB, which is what the format can hold.
constexpr std::uint64_t largest_header = header_size + (std::size_t{16} << 20);
/// A cluster's number has 32 bits.
constexpr std::uint64_t largest_device = std::uint64_t{cluster_size} << 32;

const unsigned char* at(const std::string& bytes, std::size_t offset) {
  return reinterpret_cast<const unsigned char*>(bytes.data()) + offset;
}

/// The texts of a header by their places in it.
class Blobs {
 public:
  explicit Blobs(std::string bytes) : bytes_{std::move(bytes)} {}

  /// Nothing when there is none at this place; place 0 means none.
  std::optional<std::string> get(std::uint32_t place) const {
    if (place == 0 || place > bytes_.size() || bytes_.size() - place < 2) return std::nullopt;
    const std::size_t size = endian::load_little_u16(at(bytes_, place));
    if (bytes_.size() - place - 2 < size) return std::nullopt;
    return bytes_.substr(place + 2, size);
  }
  /// One that ends with a NUL, without it.
  std::optional<std::string> text(std::uint32_t place) const {
    auto out = get(place);
    if (!out || !out->ends_with('\0')) return std::nullopt;
    out->pop_back();
    return out;
  }

 private:
  std::string bytes_;
};

}  // namespace

VmaReader::VmaReader(Source source) : source_{std::move(source)} {
  read_header();
}

void VmaReader::fail(const std::string& what) const {
  throw Error{Errc::rejected, fmt::format("VMA archive, byte {}: {}", offset_, what)};
}

std::string VmaReader::read(std::size_t size, const char* what) {
  std::string out(size, '\0');
  offset_ = next_;
  const auto got = source_(out);
  next_ += got;
  if (got < size) fail(fmt::format("{} ends after {} of {} bytes", what, got, size));
  return out;
}

void VmaReader::read_header() {
  auto bytes = read(header_size, "the header");
  if (!bytes.starts_with(std::string_view{"VMA\0", 4})) fail("this is no VMA archive");
  if (const auto found = endian::load_big_u32(at(bytes, at_version)); found != format_version) {
    fail(fmt::format("version {}; 1 is known", found));
  }
  const std::uint64_t size = endian::load_big_u32(at(bytes, at_header_size));
  if (size <= header_size || size > largest_header) fail(fmt::format("a header of {} bytes", size));
  bytes += read(static_cast<std::size_t>(size) - header_size, "the header");
  offset_ = 0;
  if (bytes.substr(at_md5, md5_size) != md5_without(bytes, at_md5)) {
    fail("the header's checksum is wrong");
  }
  const std::uint64_t blobs_offset = endian::load_big_u32(at(bytes, at_blobs_offset));
  const std::uint64_t blobs_size = endian::load_big_u32(at(bytes, at_blobs_size));
  if (blobs_offset < header_size || blobs_offset + blobs_size > size) {
    fail("the header's texts lie outside of it");
  }
  const Blobs blobs{bytes.substr(blobs_offset, blobs_size)};
  header_.uuid = bytes.substr(at_uuid, 16);
  header_.ctime = endian::load_big_s64(at(bytes, at_ctime));
  for (std::size_t i = 0; i < most_configs; ++i) {
    const auto name_place = endian::load_big_u32(at(bytes, at_config_names + 4 * i));
    const auto data_place = endian::load_big_u32(at(bytes, at_config_data + 4 * i));
    if (name_place == 0 || data_place == 0) continue;
    const auto name = blobs.text(name_place);
    const auto data = blobs.get(data_place);
    if (!name || !data) fail(fmt::format("configuration {} lies outside of the header", i));
    header_.configs[*name] = *data;
  }
  for (std::size_t i = 1; i <= most_devices; ++i) {
    const auto place = at_devices + device_size * i;
    const auto device_bytes = endian::load_big_u64(at(bytes, place + device_at_bytes));
    const auto name = blobs.text(endian::load_big_u32(at(bytes, place)));
    if (!name || device_bytes == 0) continue;
    if (device_bytes > largest_device) {
      fail(fmt::format("device {} of {} bytes", *name, device_bytes));
    }
    header_.devices[static_cast<std::uint8_t>(i)] = {*name, device_bytes};
  }
}

std::uint64_t VmaReader::clusters() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& [number, device] : header_.devices) sum += clusters_of(device);
  return sum;
}

bool VmaReader::read_extent(const Write& write) {
  std::string first(1, '\0');
  offset_ = next_;
  if (source_(first) == 0) {
    check_whole();
    return false;
  }
  ++next_;
  const auto extent_offset = offset_;
  const auto extent = first + read(extent_header_size - 1, "an extent's header");
  offset_ = extent_offset;
  if (!extent.starts_with("VMAE")) fail("no extent starts here");
  if (extent.substr(extent_at_uuid, 16) != header_.uuid) fail("an extent of another archive");
  if (extent.substr(extent_at_md5, md5_size) != md5_without(extent, extent_at_md5)) {
    fail("the extent's checksum is wrong");
  }
  const std::size_t blocks = endian::load_big_u16(at(extent, extent_at_blocks));
  if (blocks > clusters_in_extent * blocks_in_cluster) fail(fmt::format("{} blocks", blocks));
  const auto data = read(blocks * block_size, "an extent");
  offset_ = extent_offset;
  read_clusters(extent, data, write);
  return true;
}

void VmaReader::read_clusters(const std::string& extent, const std::string& blocks,
                              const Write& write) {
  std::span<const char> rest{blocks};
  for (std::size_t i = 0; i < clusters_in_extent; ++i) {
    const auto info = endian::load_big_u64(at(extent, extent_at_clusters + 8 * i));
    const auto mask = static_cast<std::uint16_t>(info >> 48);
    const auto number = static_cast<std::uint8_t>(info >> 32);
    const auto cluster = static_cast<std::uint32_t>(info);
    if (number == 0 && mask == 0) continue;  // an unused place of the last extent
    const auto device = header_.devices.find(number);
    if (device == header_.devices.end()) fail(fmt::format("a cluster of device {}", number));
    const auto count = static_cast<std::size_t>(std::popcount(mask)) * block_size;
    if (count > rest.size()) fail("more blocks than the extent has");
    if (cluster >= clusters_of(device->second) ||
        ++clusters_of_device_[number] > clusters_of(device->second)) {
      fail(fmt::format("cluster {} of {}, which has {}", cluster, device->second.name,
                       clusters_of(device->second)));
    }
    ++clusters_read_;
    write_blocks(number, std::uint64_t{cluster} * cluster_size, mask, rest.first(count), write);
    rest = rest.subspan(count);
  }
  if (!rest.empty()) fail("fewer blocks than the extent says");
}

void VmaReader::write_blocks(std::uint8_t device, std::uint64_t offset, std::uint16_t mask,
                             std::span<const char> blocks, const Write& write) const {
  const auto end = header_.devices.at(device).bytes;
  for (std::size_t i = 0; i < blocks_in_cluster;) {
    const auto run =
        static_cast<std::size_t>(std::countr_one(static_cast<std::uint16_t>(mask >> i)));
    const auto start = offset + i * block_size;
    if (run > 0 && start < end) {
      const auto size = std::min<std::uint64_t>(run * block_size, end - start);
      write(device, start, blocks.first(static_cast<std::size_t>(size)));
    }
    blocks = blocks.subspan(run * block_size);
    i += std::max<std::size_t>(run, 1);
  }
}

void VmaReader::check_whole() const {
  for (const auto& [number, device] : header_.devices) {
    const auto found = clusters_of_device_.find(number);
    const auto count = found == clusters_of_device_.end() ? 0 : found->second;
    if (count != clusters_of(device)) {
      fail(fmt::format("the end, after {} of {} clusters of {}", count, clusters_of(device),
                       device.name));
    }
  }
}

}  // namespace px::node
