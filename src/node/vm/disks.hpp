#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace px::node {

/// Disk images: real ones, or small stand-ins for simulated machines. Every function blocks: call
/// it through run_in_pool. Each throws Error{rejected} with the tool's own text, and leaves no
/// half-made file behind. `format`: raw, qcow2 or vmdk.
class Disks {
 public:
  using Path = std::filesystem::path;
  virtual ~Disks() = default;

  /// Bytes that a guest sees.
  virtual std::uint64_t size(const Path& image, const std::string& format) = 0;
  /// The same of an image from outside. Refuses one that names another file, as its backing, its
  /// data or an extent: what was uploaded must not read the host's files.
  virtual std::uint64_t size_of_import(const Path& image, const std::string& format) = 0;
  virtual void create(const Path& image, const std::string& format, std::uint64_t bytes) = 0;
  /// A qcow2 image that holds what differs from `base`.
  virtual void create_linked(const Path& image, const Path& base,
                             const std::string& base_format) = 0;
  /// A whole copy.
  virtual void copy(const Path& from, const std::string& from_format, const Path& image,
                    const std::string& format) = 0;
  virtual void resize(const Path& image, const std::string& format, std::uint64_t bytes) = 0;

  /// Snapshots inside a qcow2 file that nobody has open.
  virtual void save_snapshot(const Path& image, const std::string& name) = 0;
  virtual void load_snapshot(const Path& image, const std::string& name) = 0;
  virtual void delete_snapshot(const Path& image, const std::string& name) = 0;
};

/// By qemu-img.
class QemuDisks : public Disks {
 public:
  std::uint64_t size(const Path& image, const std::string& format) override;
  std::uint64_t size_of_import(const Path& image, const std::string& format) override;
  void create(const Path& image, const std::string& format, std::uint64_t bytes) override;
  void create_linked(const Path& image, const Path& base, const std::string& base_format) override;
  void copy(const Path& from, const std::string& from_format, const Path& image,
            const std::string& format) override;
  void resize(const Path& image, const std::string& format, std::uint64_t bytes) override;
  void save_snapshot(const Path& image, const std::string& name) override;
  void load_snapshot(const Path& image, const std::string& name) override;
  void delete_snapshot(const Path& image, const std::string& name) override;
};

/// Empty files in the right places.
class SimulatedDisks : public Disks {
 public:
  std::uint64_t size(const Path& image, const std::string& format) override;
  std::uint64_t size_of_import(const Path& image, const std::string& format) override;
  void create(const Path& image, const std::string& format, std::uint64_t bytes) override;
  void create_linked(const Path& image, const Path& base, const std::string& base_format) override;
  void copy(const Path& from, const std::string& from_format, const Path& image,
            const std::string& format) override;
  void resize(const Path& /*image*/, const std::string& /*format*/, std::uint64_t /*b*/) override {}
  void save_snapshot(const Path& /*image*/, const std::string& /*name*/) override {}
  void load_snapshot(const Path& /*image*/, const std::string& /*name*/) override {}
  void delete_snapshot(const Path& /*image*/, const std::string& /*name*/) override {}
};

}  // namespace px::node
