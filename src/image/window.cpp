#include "image/window.hpp"

#include "image/download.hpp"
#include "image/web_parts.hpp"
#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace px::image {

namespace {

/// Owns a file descriptor.
class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path)
      : fd_{::open(path.c_str(), O_RDONLY | O_CLOEXEC)} {
    if (fd_ < 0) throw_bad_input("file", path.string(), std::strerror(errno));
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() { ::close(fd_); }

  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

std::uint64_t size_of(const OpenFile& file, const std::filesystem::path& path) {
  struct stat found{};
  if (::fstat(file.fd(), &found) != 0) throw_bad_input("file", path.string(), std::strerror(errno));
  if (!S_ISREG(found.st_mode)) throw_bad_input("file", path.string(), "it must be a regular file");
  return static_cast<std::uint64_t>(found.st_size);
}

std::string read_at(const OpenFile& file, const std::string& path, std::uint64_t at,
                    std::size_t count) {
  std::string out(count, '\0');
  std::size_t got = 0;
  while (got < count) {
    const auto n = ::pread(file.fd(), out.data() + got, count - got, static_cast<off_t>(at + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      throw_bad_input("file", path, fmt::format("offset {}: {}", at + got, std::strerror(errno)));
    }
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  out.resize(got);
  return out;
}

}  // namespace

Window::Window(std::shared_ptr<const Read> read, std::uint64_t offset, std::uint64_t size,
               std::string name)
    : read_{std::move(read)}, offset_{offset}, size_{size}, name_{std::move(name)} {}

Window Window::of_file(const std::filesystem::path& path, std::uint64_t offset,
                       std::uint64_t size) {
  std::uint64_t whole = 0;
  Read read;
  if (is_url(path.string())) {
    const auto file = std::make_shared<WebParts>(path.string());
    whole = file->size();
    read = [file](std::uint64_t at, std::size_t count) { return file->read(at, count); };
  } else {
    const auto file = std::make_shared<const OpenFile>(path);
    whole = size_of(*file, path);
    read = [file, name = path.string()](std::uint64_t at, std::size_t count) {
      return read_at(*file, name, at, count);
    };
  }
  const auto start = std::min(offset, whole);
  return Window{std::make_shared<const Read>(std::move(read)), start, std::min(size, whole - start),
                path.filename().string()};
}

Window Window::of_memory(std::string_view bytes, std::string name) {
  auto read = [bytes](std::uint64_t at, std::size_t count) {
    return std::string{bytes.substr(at, count)};
  };
  return Window{std::make_shared<const Read>(std::move(read)), 0, bytes.size(), std::move(name)};
}

Window Window::part(std::uint64_t offset, std::uint64_t size, std::string_view name) const {
  const auto start = std::min(offset, size_);
  return Window{read_, offset_ + start, std::min(size, size_ - start),
                fmt::format("{}: {}", name_, name)};
}

std::string Window::read(std::uint64_t at, std::size_t count) const {
  if (at >= size_) return {};
  const auto wanted = std::min<std::uint64_t>(count, size_ - at);
  return (*read_)(offset_ + at, static_cast<std::size_t>(wanted));
}

}  // namespace px::image
