#pragma once
#include "node/vm/routes.hpp"

namespace px::node {

/// What a request says of its imports besides the drives.
struct ImportOptions {
  /// Only root@pam itself, not its tokens, may name files by their path (exchange 20).
  bool any_path = false;
  /// Where an OVA's disk is unpacked; empty = the storage that holds the OVA.
  std::string working_storage;

  static ImportOptions of(const Call& call);
};

/// Where a new disk's contents come from: `import-from`. Source: qemu-server API2/Qemu.pm,
/// exchanges 04 and 16.
class DiskImport {
 public:
  explicit DiskImport(VmServices services) : services_{services} {}

  /// What can be seen before the work. Throws ApiError 400 or 500.
  void check(const Drive& drive, const ImportOptions& options) const;

  /// A file that qemu-img can read; removed with its owner when it was unpacked for this.
  struct Source {
    Source() = default;
    Source(Source&& other) noexcept = default;
    Source& operator=(Source&&) = delete;
    ~Source();

    std::filesystem::path path;
    std::string format;
    /// From outside: it must be looked at before QEMU follows what it names.
    bool foreign = true;
    std::filesystem::path unpacked{};
    /// Of the VM whose disk it is.
    Semaphore::Permit owner_lock{};
    std::uint64_t declared_bytes = 0;  ///< what that VM's configuration says; 0 = nothing
  };
  /// Throws Error and ApiError with the task's end.
  awaitable<Source> open(int vmid, std::string source, ImportOptions options, TaskLog& log) const;

  /// The format that a disk gets whose drive asks for none: a qcow2 stays one.
  static std::string default_format(const std::string& source, const std::string& format);
  /// Bytes of the new disk, which is made. Blocks.
  static std::uint64_t copy(Disks& disks, const Source& source, const std::filesystem::path& image,
                            const std::string& format);

 private:
  awaitable<Source> open_disk(int vmid, Volume volume) const;
  awaitable<Source> unpack(int vmid, std::string source, ImportOptions options, TaskLog& log) const;

  VmServices services_;
};

}  // namespace px::node
