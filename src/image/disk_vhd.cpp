#include "image/disk_vhd.hpp"

#include "image/disk_bytes.hpp"

#include <fmt/format.h>

#include <cstddef>

namespace px::image {

namespace {

// --- VHD -----------------------------------------------------------------------------------------

constexpr std::uint64_t fixed = 2;
constexpr std::uint64_t dynamic = 3;
constexpr std::uint64_t differencing = 4;
constexpr std::size_t checksum_at = 64;

/// The complement of the sum of all other bytes.
bool has_right_checksum(const Fields& footer) {
  std::uint32_t sum = 0;
  const auto bytes = footer.text(0, sector_bytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const bool own = i >= checksum_at && i < checksum_at + 4;
    if (!own) sum += static_cast<unsigned char>(bytes[i]);
  }
  return footer.big(checksum_at, 4) == static_cast<std::uint32_t>(~sum);
}

DiskHeader header_from(const Fields& footer, std::string kind) {
  DiskHeader out;
  out.format = DiskFormat::vhd;
  out.kind = std::move(kind);
  out.virtual_size = footer.big(48, 8);
  return out;
}

// --- VHDX ----------------------------------------------------------------------------------------

// GUIDs as they lie in the file.
constexpr std::string_view metadata_region{
    "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e", 16};
constexpr std::string_view disk_size_item{
    "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8", 16};
constexpr std::string_view parameters_item{
    "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b", 16};

constexpr std::size_t entry_bytes = 32;  // of both tables

/// A table of entries that begin with a GUID: the entry of that one.
std::optional<Fields> find_entry(const Window& image, std::uint64_t first, std::uint64_t count,
                                 std::string_view guid, std::string_view table) {
  for (std::uint64_t i = 0; i < count; ++i) {
    Fields entry{image, first + i * entry_bytes, entry_bytes, table};
    if (entry.text(0, 16) == guid) return entry;
  }
  return std::nullopt;
}

constexpr std::uint64_t most_entries = 2047;  // MS-VHDX 2.2.3.1, 2.6.1.1

std::uint64_t metadata_offset(const Window& image) {
  constexpr std::uint64_t table = 192 * 1024;
  const Fields head{image, table, 16, "the region table of VHDX"};
  const auto count = head.little(8, 4);
  if (head.text(0, 4) != "regi" || count > most_entries) {
    refuse_disk(image, "the region table of the VHDX is broken");
  }
  const auto entry =
      find_entry(image, table + 16, count, metadata_region, "the region table of VHDX");
  if (!entry) refuse_disk(image, "the VHDX has no metadata");
  return entry->little(16, 8);
}

/// Where a metadata item lies.
std::uint64_t item_offset(const Window& image, std::uint64_t table, std::string_view guid) {
  const Fields head{image, table, entry_bytes, "the metadata of VHDX"};
  const auto count = head.little(10, 2);
  if (head.text(0, 8) != "metadata" || count > most_entries) {
    refuse_disk(image, "the metadata table of the VHDX is broken");
  }
  const auto entry = find_entry(image, table + entry_bytes, count, guid, "the metadata of VHDX");
  if (!entry) refuse_disk(image, "the metadata of the VHDX lacks the disk's size or parameters");
  return table + entry->little(16, 4);
}

}  // namespace

DiskHeader read_dynamic_vhd(const Window& image) {
  const Fields copy{image, 0, sector_bytes, "the header of VHD"};
  const auto end = image.size() < sector_bytes ? 0 : image.size() - sector_bytes;
  const Fields footer{image, end, sector_bytes, "the footer of VHD"};
  if (footer.text(0, vhd_magic.size()) != vhd_magic) {
    refuse_disk(image,
                fmt::format("the VHD is cut off: it should end with a footer, and ends at {}",
                            image.size()));
  }
  if (!has_right_checksum(footer) || !has_right_checksum(copy)) {
    refuse_disk(image, "the VHD's footer has a wrong checksum");
  }
  const auto type = footer.big(60, 4);
  if (type == differencing) {
    refuse_disk(image, "it is the difference to another VHD, and of no use without that one");
  }
  if (type != dynamic) refuse_disk(image, fmt::format("VHD type {} is not known", type));
  return header_from(footer, "dynamic");
}

std::optional<DiskHeader> read_fixed_vhd(const Window& image) {
  if (image.size() < 2 * sector_bytes) return std::nullopt;
  const Fields footer{image, image.size() - sector_bytes, sector_bytes, "the footer of VHD"};
  const bool is_one = footer.text(0, vhd_magic.size()) == vhd_magic && footer.big(60, 4) == fixed &&
                      has_right_checksum(footer);
  if (!is_one) return std::nullopt;
  auto out = header_from(footer, "fixed");
  if (out.virtual_size > image.size() - sector_bytes) {
    refuse_disk(image, fmt::format("the VHD is cut off: it should hold {} bytes and a footer, and "
                                   "has {}",
                                   out.virtual_size, image.size()));
  }
  return out;
}

DiskHeader read_vhdx(const Window& image) {
  const auto table = metadata_offset(image);
  // Beyond the end by far, so that no sum below can wrap.
  if (table > image.size()) {
    refuse_disk(image, fmt::format("the VHDX is cut off: its metadata is at {}, it ends at {}",
                                   table, image.size()));
  }
  const Fields size{image, item_offset(image, table, disk_size_item), 8, "the disk size of VHDX"};
  const Fields parameters{image, item_offset(image, table, parameters_item), 8,
                          "the parameters of VHDX"};
  const auto flags = parameters.little(4, 4);
  constexpr std::uint64_t stays_allocated = 1;
  constexpr std::uint64_t has_parent = 2;
  if ((flags & has_parent) != 0) {
    refuse_disk(image, "it is the difference to another VHDX, and of no use without that one");
  }
  DiskHeader out;
  out.format = DiskFormat::vhdx;
  out.kind = (flags & stays_allocated) != 0 ? "fixed" : "dynamic";
  out.virtual_size = size.little(0, 8);
  return out;
}

}  // namespace px::image
