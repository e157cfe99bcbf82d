#include "image/prepared_disk.hpp"

#include "image/built_in.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"
#include "support/process.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <boost/algorithm/string/trim.hpp>
#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

namespace px::image {

namespace {

namespace fs = std::filesystem;

/// What processes that were killed left of their folders, which begin with their pid.
void remove_dead_folders(const fs::path& base) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator{base, ignored}) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) fs::remove_all(entry.path(), ignored);
  }
}

/// The bytes of a part of a file, for libarchive.
struct Input {
  Input(const fs::path& path, std::uint64_t begin, std::uint64_t count)
      : file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)}, at{begin}, left{count} {}
  ~Input() {
    if (file >= 0) ::close(file);
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  static la_ssize_t read(archive* reader, void* self, const void** bytes) {
    auto& in = *static_cast<Input*>(self);
    const auto wanted = std::min<std::uint64_t>(in.buffer.size(), in.left);
    const auto got = ::pread(in.file, in.buffer.data(), wanted, static_cast<off_t>(in.at));
    if (got < 0) archive_set_error(reader, errno, "%s", std::strerror(errno));
    if (got > 0) {
      in.at += static_cast<std::uint64_t>(got);
      in.left -= static_cast<std::uint64_t>(got);
    }
    *bytes = in.buffer.data();
    return got;
  }

  int file;
  std::uint64_t at;
  std::uint64_t left;
  std::string buffer = std::string(1 << 20, '\0');
};

/// Writes what a compressed part of a file holds; holes stay holes.
void decompress(const RecipeDisk& disk, const fs::path& target) {
  const auto fail = [&](std::string_view why) {
    throw Error{Errc::bad_input,
                fmt::format("{}: the {} data can't be unpacked to {}: {}", disk.path.string(),
                            name_of(disk.compression), target.parent_path().string(), why)};
  };
  Input input{disk.path, disk.offset, disk.size};
  const std::unique_ptr<archive, decltype(&archive_read_free)> reader{archive_read_new(),
                                                                      &archive_read_free};
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_xz(reader.get());
  archive_read_support_filter_zstd(reader.get());
  archive_read_support_filter_bzip2(reader.get());
  archive_read_support_format_raw(reader.get());
  // Kali's cloud images: a disk in a tar.
  archive_read_support_format_tar(reader.get());
  if (archive_read_open(reader.get(), &input, nullptr, &Input::read, nullptr) != ARCHIVE_OK) {
    fail(archive_error_string(reader.get()));
  }
  archive_entry* entry = nullptr;
  do {
    const int next = archive_read_next_header(reader.get(), &entry);
    if (next == ARCHIVE_EOF) fail("there is no file in the tar");
    if (next != ARCHIVE_OK) fail(archive_error_string(reader.get()));
  } while (archive_format(reader.get()) != ARCHIVE_FORMAT_RAW &&
           archive_entry_filetype(entry) != AE_IFREG);
  const int file = ::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) fail(std::strerror(errno));
  const int got = archive_read_data_into_fd(reader.get(), file);
  const int closed = ::close(file);
  if (got != ARCHIVE_OK) fail(archive_error_string(reader.get()));
  if (closed != 0) fail(std::strerror(errno));
}

/// A part of a file, or a format, in the way that qemu-img names it.
std::string qemu_name(const RecipeDisk& disk) {
  return fmt::format(R"(json:{{"driver":"{}","file":{{"driver":"raw","offset":{},"size":{},"file":)"
                     R"({{"driver":"file","filename":"{}"}}}}}})",
                     name_of(disk.format), disk.offset, disk.size, disk.path.string());
}

bool is_taken_by_servers(DiskFormat format) {
  return format == DiskFormat::qcow2 || format == DiskFormat::raw || format == DiskFormat::vmdk;
}

}  // namespace

PreparedDisk::PreparedDisk(RecipeDisk disk) : disk_{std::move(disk)} {
  try {
    if (disk_.compression != Compression::none) unpack();
    if (!is_taken_by_servers(disk_.format)) convert();
  } catch (...) {
    std::error_code ignored;
    if (!folder_.empty()) fs::remove_all(folder_, ignored);
    throw;
  }
}

PreparedDisk::~PreparedDisk() {
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

const fs::path& PreparedDisk::folder() {
  if (!folder_.empty()) return folder_;
  const auto base = cache_directory() / "unpacked";
  folder_ = base / fmt::format("{}-{}", ::getpid(), random_hex(8));
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) {
    throw Error{Errc::rejected, fmt::format("{}: {}; XDG_CACHE_HOME names another place",
                                            folder_.string(), error.message())};
  }
  remove_dead_folders(base);
  return folder_;
}

void PreparedDisk::unpack() {
  const auto target = folder() / "disk";
  decompress(disk_, target);
  const auto header = read_disk_header(target);
  if (header.compression != Compression::none) {
    throw Error{Errc::bad_input,
                fmt::format("{}: is compressed twice; unpack it once", disk_.path.string())};
  }
  disk_.path = target;
  disk_.offset = 0;
  disk_.size = fs::file_size(target);
  disk_.compression = Compression::none;
  disk_.format = header.format;
  disk_.capacity = header.virtual_size;
}

void PreparedDisk::convert() {
  const auto target = folder() / "disk.qcow2";
  if (disk_.path.string().find_first_of("\"\\") != std::string::npos) {
    throw_bad_input("image", disk_.path.string(), "qemu-img takes no name with quotes or \\");
  }
  ToolResult done;
  try {
    done = run_tool({"qemu-img", "convert", "-O", "qcow2", qemu_name(disk_), target.string()});
  } catch (const Error& error) {
    throw Error{Errc::unsupported,
                fmt::format("{}: a server takes qcow2, raw and VMDK, no {}, and it can't be "
                            "converted here: {}",
                            disk_.path.string(), name_of(disk_.format), error.said)}
        .with_hint("Install qemu-utils.");
  }
  if (done.exit_code != 0) {
    throw Error{Errc::rejected,
                fmt::format("{}: can't be converted in {}: {}", disk_.path.string(),
                            folder_.string(), boost::algorithm::trim_copy(done.errors))};
  }
  disk_.path = target;
  disk_.offset = 0;
  disk_.size = fs::file_size(target);
  disk_.format = DiskFormat::qcow2;
}

std::string PreparedDisk::extension() const {
  return std::string{name_of(disk_.format)};
}

std::unique_ptr<pve::BodySource> PreparedDisk::source(asio::thread_pool& pool) const {
  return pve::file_source(pool, disk_.path, disk_.offset, disk_.size);
}

}  // namespace px::image
