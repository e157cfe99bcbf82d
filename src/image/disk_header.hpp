#pragma once
#include "image/window.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

/// What a disk image says of itself in its first bytes (a VHD: its last). Nothing is unpacked and
/// no data is read.
///
/// Sources: QEMU docs/interop/qcow2.rst; VMware Virtual Disk Format 1.1; MS-VHDX; Virtual Hard Disk
/// Image Format Specification 1.0; VirtualBox's VDI header as in QEMU block/vdi.c.
namespace px::image {

enum class DiskFormat : std::uint8_t { raw, qcow2, vmdk, vhdx, vdi, vhd };
enum class Compression : std::uint8_t { none, gzip, xz, zstd, bzip2 };

/// As QEMU calls it: raw, qcow2, vmdk, vhdx, vdi, vpc.
std::string_view name_of(DiskFormat format) noexcept;
/// "gzip", "xz", "zstd", "bzip2"; "none".
std::string_view name_of(Compression compression) noexcept;

struct DiskHeader {
  /// Of a compressed file: unknown before it is unpacked, and left at raw.
  DiskFormat format = DiskFormat::raw;
  std::string kind;  ///< "streamOptimized", "version 3", "fixed": for people; may be empty
  Compression compression = Compression::none;
  /// Bytes that the guest sees; 0 of a compressed file.
  std::uint64_t virtual_size = 0;
};

/// What starts like no known format is raw, its size being a multiple of 512.
/// Throws Error{bad_input} for what is broken, cut off, empty, needs another file (a backing file,
/// an external data file, a parent, extents of a VMDK's text descriptor), or is encrypted.
DiskHeader read_disk_header(const Window& bytes);
DiskHeader read_disk_header(const std::filesystem::path& path, std::uint64_t offset = 0,
                            std::uint64_t size = Window::to_the_end);

/// What the first bytes of a gzip stream unpack to, by their magic alone: raw when it is none.
/// Throws Error{bad_input} for a broken stream.
DiskFormat format_in_gzip(const Window& gzip);

}  // namespace px::image
