#include "image/disk_header.hpp"

#include "image/disk_bytes.hpp"
#include "image/disk_vhd.hpp"
#include "image/disk_vmdk.hpp"

#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <memory>

namespace px::image {

namespace {

// --- qcow2 ---------------------------------------------------------------------------------------

constexpr std::string_view qcow_magic = "QFI\xfb";

void refuse_what_qcow2_needs(const Window& image, const Fields& header, std::uint64_t version) {
  if (const auto at = header.big(8, 8); at != 0) {
    const auto name = image.read(at, std::min<std::size_t>(header.big(16, 4), 1023));
    refuse_disk(image, fmt::format("it has the backing file \"{}\"; a disk must be one file",
                                   name.substr(0, name.find('\0'))));
  }
  if (header.big(32, 4) != 0) refuse_disk(image, "the qcow2 is encrypted");
  if (version < 3) return;
  const auto features = Fields{image, 72, 8, "the header of qcow2"}.big(0, 8);
  constexpr std::uint64_t corrupt = 2;
  constexpr std::uint64_t external_data = 4;
  if ((features & external_data) != 0) {
    refuse_disk(image, "its data is in another file (data_file); a disk must be one file");
  }
  if ((features & corrupt) != 0) {
    refuse_disk(image, "it is marked as corrupt; qemu-img check says more");
  }
}

DiskHeader read_qcow2(const Window& image) {
  const Fields header{image, 0, 72, "the header of qcow2"};
  const auto version = header.big(4, 4);
  if (version != 2 && version != 3) {
    refuse_disk(image, fmt::format("qcow version {} is not known; 2 and 3 are", version));
  }
  refuse_what_qcow2_needs(image, header, version);
  DiskHeader out;
  out.format = DiskFormat::qcow2;
  out.kind = fmt::format("version {}", version);
  out.virtual_size = header.big(24, 8);
  return out;
}

// --- VDI -----------------------------------------------------------------------------------------

constexpr std::size_t vdi_magic_at = 64;
constexpr std::string_view vdi_magic = "\x7f\x10\xda\xbe";

DiskHeader read_vdi(const Window& image) {
  const Fields header{image, 0, sector_bytes, "the header of VDI"};
  if (const auto major = header.little(0x46, 2); major != 1) {
    refuse_disk(image, fmt::format("VDI version {} is not known; 1 is", major));
  }
  DiskHeader out;
  out.format = DiskFormat::vdi;
  switch (const auto type = header.little(0x4c, 4)) {
    case 1:
      out.kind = "dynamic";
      break;
    case 2:
      out.kind = "fixed";
      break;
    case 3:
    case 4:
      refuse_disk(image, "it is the difference to another VDI, and of no use without that one");
    default:
      refuse_disk(image, fmt::format("VDI type {} is not known", type));
  }
  out.virtual_size = header.little(0x170, 8);
  return out;
}

// --- the rest ------------------------------------------------------------------------------------

Compression compression_of(std::string_view head) {
  if (head.starts_with("\x1f\x8b")) return Compression::gzip;
  if (head.starts_with(std::string_view{"\xfd"
                                        "7zXZ\0",
                                        6}))
    return Compression::xz;
  if (head.starts_with("\x28\xb5\x2f\xfd")) return Compression::zstd;
  if (head.starts_with("BZh") &&
      head.substr(std::min<std::size_t>(4, head.size())).starts_with("1AY&SY")) {
    return Compression::bzip2;
  }
  return Compression::none;
}

/// What is surely no disk, or one of a kind that the server can't take, but would pass for raw.
void refuse_what_is_no_disk(const Window& image, std::string_view head) {
  if (boost::istarts_with(head, "<!doctype html") || boost::istarts_with(head, "<html")) {
    refuse_disk(image, "it is a web page, not a disk image");
  }
  if (head.size() > 262 && head.substr(257, 5) == "ustar") {
    refuse_disk(image, "it is a tar, not a disk image; an appliance is named as `ova`");
  }
  constexpr std::array others{std::pair{std::string_view{"QED\0", 4}, "QED"},
                              std::pair{std::string_view{"WithoutFreeSpace"}, "Parallels"},
                              std::pair{std::string_view{"WithouFreSpacExt"}, "Parallels"}};
  for (const auto& [magic, name] : others) {
    if (!head.starts_with(magic)) continue;
    throw Error{Errc::bad_input, fmt::format("{}: its format is {}", image.name(), name)}.with_hint(
        "qemu-img convert -O qcow2 makes one of it that works.");
  }
}

DiskHeader read_raw(const Window& image) {
  if (image.size() % sector_bytes != 0) {
    refuse_disk(image,
                fmt::format("it begins like no known disk image, and its size, {} bytes, is no "
                            "multiple of 512, so it is no raw disk either (or is cut off)",
                            image.size()));
  }
  DiskHeader out;
  out.virtual_size = image.size();
  // ECMA-119, 8.1.2: the first descriptor is in the 16th sector of 2048.
  if (image.read(32769, 5) == "CD001") out.kind = "ISO 9660";
  return out;
}

DiskFormat format_by_magic(std::string_view head) {
  if (head.starts_with(qcow_magic)) return DiskFormat::qcow2;
  if (is_vmdk(head)) return DiskFormat::vmdk;
  if (head.starts_with(vhdx_magic)) return DiskFormat::vhdx;
  if (head.starts_with(vhd_magic)) return DiskFormat::vhd;
  if (head.size() > vdi_magic_at && head.substr(vdi_magic_at).starts_with(vdi_magic)) {
    return DiskFormat::vdi;
  }
  return DiskFormat::raw;
}

DiskHeader read_known(const Window& image, std::string_view head) {
  switch (format_by_magic(head)) {
    case DiskFormat::qcow2:
      return read_qcow2(image);
    case DiskFormat::vmdk:
      return read_vmdk(image);
    case DiskFormat::vhdx:
      return read_vhdx(image);
    case DiskFormat::vhd:
      return read_dynamic_vhd(image);
    case DiskFormat::vdi:
      return read_vdi(image);
    case DiskFormat::raw:
      break;
  }
  refuse_what_is_no_disk(image, head);
  if (const auto vhd = read_fixed_vhd(image)) return *vhd;
  return read_raw(image);
}

}  // namespace

std::string_view name_of(DiskFormat format) noexcept {
  constexpr std::array<std::string_view, 6> names{"raw", "qcow2", "vmdk", "vhdx", "vdi", "vpc"};
  return names[static_cast<std::size_t>(format)];
}

std::string_view name_of(Compression compression) noexcept {
  constexpr std::array<std::string_view, 5> names{"none", "gzip", "xz", "zstd", "bzip2"};
  return names[static_cast<std::size_t>(compression)];
}

DiskFormat format_in_gzip(const Window& gzip) {
  auto packed = gzip.read(0, 64 * 1024);
  std::string head(sector_bytes, '\0');
  z_stream stream{};
  constexpr int gzip_only = 16 + MAX_WBITS;
  if (inflateInit2(&stream, gzip_only) != Z_OK) throw Error{Errc::internal, "zlib does not start"};
  const std::unique_ptr<z_stream, int (*)(z_streamp)> owner{&stream, inflateEnd};
  stream.next_in = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(head.data());
  stream.avail_out = static_cast<uInt>(head.size());
  const int state = inflate(&stream, Z_SYNC_FLUSH);
  if (state != Z_OK && state != Z_STREAM_END) refuse_disk(gzip, "the gzip stream in it is broken");
  head.resize(head.size() - stream.avail_out);
  return format_by_magic(head);
}

DiskHeader read_disk_header(const Window& bytes) {
  if (bytes.size() == 0) refuse_disk(bytes, "it is empty");
  const auto head = bytes.read(0, sector_bytes);
  if (const auto compression = compression_of(head); compression != Compression::none) {
    return {DiskFormat::raw, {}, compression, 0};
  }
  auto out = read_known(bytes, head);
  if (out.virtual_size == 0) refuse_disk(bytes, "the disk in it has no bytes");
  if (out.virtual_size > (UINT64_MAX >> 1U)) {
    refuse_disk(bytes, fmt::format("the disk in it would have {} bytes; the header is broken",
                                   out.virtual_size));
  }
  return out;
}

DiskHeader read_disk_header(const std::filesystem::path& path, std::uint64_t offset,
                            std::uint64_t size) {
  return read_disk_header(Window::of_file(path, offset, size));
}

}  // namespace px::image
