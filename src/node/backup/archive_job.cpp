#include "node/backup/archive_job.hpp"

#include "support/bytes.hpp"
#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace px::node {

namespace {

namespace fs = std::filesystem;

constexpr const char* config_name = "qemu-server.conf";
/// A step moves at most 64 MiB.
constexpr std::size_t clusters_in_step = 1024;
constexpr std::size_t extents_in_step = clusters_in_step / vma::clusters_in_extent;

[[noreturn]] void fail(const fs::path& path) {
  throw Error{Errc::rejected, fmt::format("{}: {}", path.string(), std::strerror(errno))};
}

VmaHeader header_of(std::int64_t ctime, const std::string& config,
                    const std::vector<ArchivedDisk>& disks) {
  VmaHeader header{.uuid = random_bytes(16), .ctime = ctime, .configs = {{config_name, config}}};
  if (disks.size() > vma::most_devices) {
    throw Error{Errc::rejected, fmt::format("{} disks; a VMA archive holds 255", disks.size())};
  }
  for (const auto& disk : disks) {
    const auto number = static_cast<std::uint8_t>(header.devices.size() + 1);
    header.devices[number] = {"drive-" + disk.name, disk.bytes};
  }
  return header;
}

}  // namespace

/// A raw image that is read from its start to its end, holes skipped.
class ArchiveJob::DiskFile {
 public:
  explicit DiskFile(const ArchivedDisk& disk)
      : path_{disk.raw}, fd_{::open(disk.raw.c_str(), O_RDONLY | O_CLOEXEC)} {
    if (fd_ < 0) fail(path_);
  }
  ~DiskFile() { ::close(fd_); }
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;

  /// The next cluster; false when it lies in a hole. `out` is filled up with zeros.
  bool read(std::span<char, vma::cluster_size> out) {
    const auto from = std::exchange(offset_, offset_ + static_cast<off_t>(vma::cluster_size));
    if (data_ < from) find_data(from);
    if (data_ >= offset_) return false;
    std::size_t done = 0;
    while (done < out.size()) {
      const auto got =
          ::pread(fd_, out.data() + done, out.size() - done, from + static_cast<off_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(path_);
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(done), out.end(), '\0');
    return true;
  }

 private:
  /// Where the data at or behind `from` starts.
  void find_data(off_t from) {
    data_ = ::lseek(fd_, from, SEEK_DATA);
    if (data_ >= 0) return;
    // ENXIO: there is none up to the end. A file system that knows no holes has data all over.
    data_ = errno == ENXIO ? std::numeric_limits<off_t>::max() : from;
  }

  fs::path path_;
  int fd_;
  off_t offset_ = 0;
  off_t data_ = -1;
};

ArchiveJob::ArchiveJob(const fs::path& archive, Compression compression, std::int64_t ctime,
                       const std::string& config, std::vector<ArchivedDisk> disks)
    : file_{archive, compression}, disks_{std::move(disks)} {
  for (const auto& disk : disks_) total_ += disk.bytes;
  writer_ =
      std::make_unique<VmaWriter>(header_of(ctime, config, disks_),
                                  [this](std::span<const char> bytes) { file_.write(bytes); });
}

ArchiveJob::~ArchiveJob() = default;

bool ArchiveJob::step() {
  if (current_ < disks_.size()) {
    if (!step_disk()) ++current_;
    return true;
  }
  writer_->finish();
  file_.close();
  return false;
}

/// Some clusters of the current disk; false when they were its last.
bool ArchiveJob::step_disk() {
  const auto& disk = disks_[current_];
  const VmaDevice device{disk.name, disk.bytes};
  const auto number = static_cast<std::uint8_t>(current_ + 1);
  if (!open_) open_ = std::make_unique<DiskFile>(disk);
  std::array<char, vma::cluster_size> bytes;
  for (std::size_t i = 0; i < clusters_in_step; ++i) {
    if (next_cluster_ == clusters_of(device)) {
      open_.reset();
      next_cluster_ = 0;
      return false;
    }
    const auto cluster = static_cast<std::uint32_t>(next_cluster_++);
    if (open_->read(bytes)) {
      writer_->add(number, cluster, bytes);
    } else {
      writer_->add_zeros(number, cluster);
    }
    done_ += std::min<std::uint64_t>(vma::cluster_size,
                                     disk.bytes - std::uint64_t{cluster} * vma::cluster_size);
  }
  return true;
}

ExtractJob::ExtractJob(const fs::path& archive)
    : file_{archive}, reader_{[this](std::span<char> out) { return file_.read(out); }} {}

ExtractJob::~ExtractJob() {
  for (const auto& [device, fd] : targets_) ::close(fd);
}

void ExtractJob::extract_to(std::uint8_t device, const fs::path& raw) {
  const int fd = ::open(raw.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) fail(raw);
  targets_[device] = fd;
  if (::ftruncate(fd, static_cast<off_t>(header().devices.at(device).bytes)) != 0) fail(raw);
}

bool ExtractJob::step() {
  const auto write = [this](std::uint8_t device, std::uint64_t offset,
                            std::span<const char> bytes) {
    const auto target = targets_.find(device);
    if (target == targets_.end()) return;
    while (!bytes.empty()) {
      const auto done =
          ::pwrite(target->second, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail(header().devices.at(device).name);
      bytes = bytes.subspan(static_cast<std::size_t>(done));
      offset += static_cast<std::uint64_t>(done);
    }
  };
  for (std::size_t i = 0; i < extents_in_step; ++i) {
    if (!reader_.read_extent(write)) return false;
  }
  return true;
}

std::string read_archived_config(const fs::path& archive) {
  CompressedReader file{archive};
  const VmaReader reader{[&file](std::span<char> out) { return file.read(out); }};
  const auto found = reader.header().configs.find(config_name);
  if (found == reader.header().configs.end()) {
    throw Error{Errc::rejected,
                fmt::format("{} holds no {}", archive.filename().string(), config_name)};
  }
  return found->second;
}

}  // namespace px::node
