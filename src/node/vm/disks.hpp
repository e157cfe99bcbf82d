#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

/// Disk images, by qemu-img. Every function blocks: call it through run_in_pool. Each throws
/// Error{rejected} with qemu-img's own text, and leaves no half-made file behind.
namespace px::node::disks {

using Path = std::filesystem::path;

/// Bytes that a guest sees. A raw file may be any file.
std::uint64_t virtual_size(const Path& image, std::string_view format);

/// An empty image. `format`: raw or qcow2.
void create(const Path& image, std::string_view format, std::uint64_t bytes);
/// A qcow2 image that holds what differs from `base`.
void create_linked(const Path& image, const Path& base, std::string_view base_format);
/// A whole copy. `from_format`: raw, qcow2, vmdk.
void copy(const Path& from, std::string_view from_format, const Path& image,
          std::string_view format);
void resize(const Path& image, std::string_view format, std::uint64_t bytes);

/// Snapshots inside a qcow2 file that nobody has open.
void save_snapshot(const Path& image, std::string_view name);
void load_snapshot(const Path& image, std::string_view name);
void delete_snapshot(const Path& image, std::string_view name);

}  // namespace px::node::disks
