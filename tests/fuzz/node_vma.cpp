// A backup archive from outside: it is read to its end or refused, and nothing is written behind a
// disk's end. Checksums that the input can't have are put in, so that what they protect is read.
#include "node/backup/archived_config.hpp"
#include "node/backup/vma_reader.hpp"
#include "support/error.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace {

namespace vma = px::node::vma;

void put_sum(std::string& bytes, std::size_t from, std::size_t size, std::size_t at) {
  if (from > bytes.size() || bytes.size() - from < size) return;
  const auto sum = vma::md5_without(std::span{bytes}.subspan(from, size), at);
  std::copy(sum.begin(), sum.end(), bytes.begin() + static_cast<std::ptrdiff_t>(from + at));
}

std::uint32_t big_u32(const std::string& bytes, std::size_t at) {
  std::uint32_t out = 0;
  for (std::size_t i = 0; i < 4; ++i) out = out << 8 | static_cast<unsigned char>(bytes[at + i]);
  return out;
}

/// The header's fields are sparse: an input gives the places of its 12 KiB that matter.
std::string archive_of(const std::uint8_t* data, std::size_t size) {
  std::string out(vma::header_size, '\0');
  const std::size_t used = std::min<std::size_t>(size, 160);
  const auto copy = [&](std::size_t from, std::size_t to, std::size_t count) {
    if (from < used) std::memcpy(out.data() + to, data + from, std::min(count, used - from));
  };
  out.replace(0, 8, std::string_view{"VMA\0\0\0\0\1", 8});
  copy(0, vma::at_uuid, 24);
  copy(24, vma::at_blobs_offset, 12);
  copy(36, vma::at_config_names, 16);
  copy(52, vma::at_config_data, 16);
  copy(68, vma::at_devices + vma::device_size, 92);
  out.append(reinterpret_cast<const char*>(data) + used, size - used);
  const std::size_t header = big_u32(out, vma::at_header_size);
  put_sum(out, 0, header, vma::at_md5);
  for (std::size_t at = header; at < out.size() && out.size() - at >= vma::extent_header_size;) {
    put_sum(out, at, vma::extent_header_size, vma::extent_at_md5);
    const auto blocks = big_u32(out, at + 4) & 0xFFFF;
    at += vma::extent_header_size + blocks * vma::block_size;
  }
  return out;
}

void read_all(const std::string& archive) {
  std::size_t at = 0;
  px::node::VmaReader reader{[&](std::span<char> out) {
    const auto count = std::min(out.size(), archive.size() - at);
    std::copy_n(archive.data() + at, count, out.data());
    at += count;
    return count;
  }};
  for (const auto& [name, text] : reader.header().configs) {
    try {
      px::node::parse_archived_config(text);
    } catch (const px::Error&) {
    } catch (const px::node::ApiError&) {
    }
  }
  while (reader.read_extent(
      [&](std::uint8_t device, std::uint64_t offset, std::span<const char> bytes) {
        const auto size = reader.header().devices.at(device).bytes;
        if (offset > size || bytes.size() > size - offset) std::abort();
      })) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const auto& archive :
       {std::string{reinterpret_cast<const char*>(data), size}, archive_of(data, size)}) {
    try {
      read_all(archive);
    } catch (const px::Error&) {
    }
  }
  return 0;
}
