#pragma once
#include "image/disk_header.hpp"

#include <optional>

/// Microsoft's two: VHD ("Virtual Hard Disk Image Format Specification" 1.0) and VHDX (MS-VHDX).
namespace px::image {

inline constexpr std::string_view vhd_magic = "conectix";
inline constexpr std::string_view vhdx_magic = "vhdxfile";

/// A dynamic VHD, which begins with a copy of its footer.
DiskHeader read_dynamic_vhd(const Window& image);
/// A fixed VHD is a raw disk with a footer: none when there is no such footer.
std::optional<DiskHeader> read_fixed_vhd(const Window& image);

DiskHeader read_vhdx(const Window& image);

}  // namespace px::image
