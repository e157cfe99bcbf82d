#include "image/disk_vmdk.hpp"

#include "image/disk_bytes.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/algorithm/string/predicate.hpp>
#include <boost/algorithm/string/trim.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace px::image {

namespace {

constexpr std::string_view sparse_magic = "KDMV";
constexpr std::string_view text_start = "# Disk DescriptorFile";
/// The grain directory is behind the data, and the header that counts is in the footer.
constexpr std::uint64_t directory_at_end = UINT64_MAX;
/// Writers give a descriptor 20 sectors.
constexpr std::uint64_t most_descriptor_bytes = 64 * 1024;

/// Lines of a descriptor that matter.
struct Descriptor {
  std::string create_type;
  std::string parent;  ///< parentCID, when it is one
  std::vector<std::string> extent_files;
};

std::string unquoted(std::string_view text) {
  const auto out = boost::trim_copy(std::string{text});
  const bool quoted = out.size() >= 2 && out.front() == '"' && out.back() == '"';
  return quoted ? out.substr(1, out.size() - 2) : out;
}

/// `RW 4192256 SPARSE "disk-s001.vmdk"`: the file's name; none for other lines.
std::optional<std::string> extent_of(const std::string& line) {
  if (!line.starts_with("RW ") && !line.starts_with("RDONLY ") && !line.starts_with("NOACCESS ")) {
    return std::nullopt;
  }
  const auto open = line.find('"');
  if (open == std::string::npos) return std::nullopt;
  return line.substr(open + 1, line.find('"', open + 1) - open - 1);
}

Descriptor parse_descriptor(std::string_view text) {
  Descriptor out;
  text = text.substr(0, text.find('\0'));
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    const auto line = boost::trim_copy(std::string{text.substr(at, end - at)});
    at = end + 1;
    if (auto file = extent_of(line)) out.extent_files.push_back(std::move(*file));
    const auto equals = line.find('=');
    if (equals == std::string::npos) continue;
    const auto key = boost::trim_copy(line.substr(0, equals));
    const auto value = unquoted(std::string_view{line}.substr(equals + 1));
    if (boost::iequals(key, "createType")) out.create_type = value;
    // All ones: no parent.
    if (boost::iequals(key, "parentCID") && !boost::iequals(value, "ffffffff")) out.parent = value;
  }
  return out;
}

void check(const Window& image, const Descriptor& descriptor) {
  if (!descriptor.parent.empty()) {
    refuse_disk(image, fmt::format("it is the difference to another disk (parentCID {}), and of no "
                                   "use without that one",
                                   descriptor.parent));
  }
  if (descriptor.extent_files.size() > 1) {
    refuse_disk(image,
                fmt::format("its data is in {} files ({}, ...); a disk must be one file",
                            descriptor.extent_files.size(), descriptor.extent_files.front()));
  }
}

[[noreturn]] void refuse_text(const Window& image, const Descriptor& descriptor) {
  const bool names = !descriptor.extent_files.empty();
  throw Error{
      Errc::bad_input,
      fmt::format("{}: it is a VMDK's text descriptor, whose data is in {}", image.name(),
                  names ? printable(fmt::format("{}", fmt::join(descriptor.extent_files, ", ")))
                        : "no file")}
      .with_hint("A disk must be one file: qemu-img convert -O qcow2 makes one of it.");
}

/// The header of a sparse extent, or of the footer that replaces it (as in QEMU's block/vmdk.c).
Fields header_of(const Window& image) {
  Fields start{image, 0, sector_bytes, "the header of VMDK"};
  if (start.little(56, 8) != directory_at_end) return start;
  // A footer marker, the header, an end-of-stream marker; a sector each.
  constexpr std::uint64_t footer_bytes = 3 * sector_bytes;
  constexpr std::uint64_t footer_marker = 3;
  if (image.size() >= 2 * footer_bytes) {
    const Fields footer{image, image.size() - footer_bytes, footer_bytes, "the footer of VMDK"};
    const bool marked = footer.little(12, 4) == footer_marker && footer.little(8, 4) == 0;
    if (marked && footer.text(sector_bytes, 4) == sparse_magic) {
      return {image, image.size() - 2 * sector_bytes, sector_bytes, "the footer of VMDK"};
    }
  }
  refuse_disk(image, fmt::format("the VMDK is cut off: it should end with a footer, and ends at {}",
                                 image.size()));
}

DiskHeader read_sparse(const Window& image) {
  const auto header = header_of(image);
  DiskHeader out;
  out.format = DiskFormat::vmdk;
  out.kind = "sparse";
  out.virtual_size = bytes_of_sectors(image, header.little(12, 8), "the capacity");
  const auto version = header.little(4, 4);
  if (version < 1 || version > 3) {
    refuse_disk(image, fmt::format("VMDK version {} is not known; 1 to 3 are", version));
  }
  const auto overhead = bytes_of_sectors(image, header.little(64, 8), "the overhead");
  if (overhead > image.size()) {
    refuse_disk(image, fmt::format("the VMDK is cut off: its tables take {} bytes, it has {}",
                                   overhead, image.size()));
  }
  const auto at = bytes_of_sectors(image, header.little(28, 8), "the descriptor's offset");
  const auto size = bytes_of_sectors(image, header.little(36, 8), "the descriptor's size");
  // Without a descriptor it is an extent, which another file's descriptor names.
  if (at == 0 || size == 0) {
    refuse_disk(image, "it is only a part of a VMDK: it has no descriptor of its own");
  }
  const auto text = image.read(at, static_cast<std::size_t>(std::min(size, most_descriptor_bytes)));
  if (text.empty()) {
    refuse_disk(image, fmt::format("the VMDK is cut off: its descriptor is at {}, it ends at {}",
                                   at, image.size()));
  }
  const auto descriptor = parse_descriptor(text);
  check(image, descriptor);
  if (!descriptor.create_type.empty()) out.kind = descriptor.create_type;
  return out;
}

}  // namespace

bool is_vmdk(std::string_view head) {
  return head.starts_with(sparse_magic) || head.starts_with("COWD") ||
         head.starts_with(std::string_view{"\xbe\xba\xfe\xca\0\0\0\0", 8}) ||
         boost::istarts_with(head, text_start);
}

DiskHeader read_vmdk(const Window& image) {
  const auto head = image.read(0, text_start.size());
  if (boost::istarts_with(head, text_start)) {
    refuse_text(image, parse_descriptor(image.read(0, most_descriptor_bytes)));
  }
  if (!head.starts_with(sparse_magic)) {
    refuse_disk(image, "it is a part of an ESXi snapshot (COWD or SE sparse), not a whole disk");
  }
  return read_sparse(image);
}

}  // namespace px::image
