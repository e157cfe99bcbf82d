#pragma once
#include "node/backup/vma_reader.hpp"
#include "node/backup/vma_writer.hpp"
#include "node/storage/archive_io.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

/// Archives on disk, written and read in steps: each step blocks for moments, so it is called
/// through run_in_pool, and between two of them a task can be stopped. Both throw Error{rejected}.
namespace px::node {

/// A disk that goes into an archive.
struct ArchivedDisk {
  std::string name;           ///< scsi0
  std::filesystem::path raw;  ///< its bytes; may be shorter than the disk: the rest is zero
  std::uint64_t bytes = 0;
};

/// Writes an archive.
class ArchiveJob {
 public:
  /// `config`: the text of the VM's configuration.
  ArchiveJob(const std::filesystem::path& archive, Compression compression, std::int64_t ctime,
             const std::string& config, std::vector<ArchivedDisk> disks);
  ~ArchiveJob();

  /// A piece of it; false when the archive is whole and closed.
  bool step();
  std::uint64_t done() const noexcept { return done_; }
  std::uint64_t total() const noexcept { return total_; }

 private:
  class DiskFile;
  bool step_disk();

  CompressedWriter file_;
  std::vector<ArchivedDisk> disks_;
  std::unique_ptr<VmaWriter> writer_;
  std::unique_ptr<DiskFile> open_;
  std::size_t current_ = 0;         ///< of disks_
  std::uint64_t next_cluster_ = 0;  ///< of the current disk
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
};

/// Reads an archive's disks into raw files, each as large as its disk and with holes for zeros.
class ExtractJob {
 public:
  explicit ExtractJob(const std::filesystem::path& archive);
  ~ExtractJob();
  const VmaHeader& header() const noexcept { return reader_.header(); }

  /// Where a device goes; a device without a place is read over.
  void extract_to(std::uint8_t device, const std::filesystem::path& raw);
  /// A piece of it; false when the archive has been read to its end, and was whole.
  bool step();
  std::uint64_t done() const noexcept { return reader_.clusters_read() * vma::cluster_size; }
  std::uint64_t total() const noexcept { return reader_.clusters() * vma::cluster_size; }

 private:
  CompressedReader file_;
  VmaReader reader_;
  std::map<std::uint8_t, int> targets_;
};

/// The text of `qemu-server.conf` in an archive.
std::string read_archived_config(const std::filesystem::path& archive);

}  // namespace px::node
