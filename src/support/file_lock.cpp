#include "support/file_lock.hpp"

#include "support/error.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace px {

namespace {

[[noreturn]] void refuse(const std::filesystem::path& path, int reason) {
  throw Error{Errc::rejected, fmt::format("{}: {}", path.string(), std::strerror(reason))};
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& path) : descriptor_{-1}, path_{path} {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor_ < 0) refuse(path, errno);
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool FileLock::try_take() {
  while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) refuse(path_, errno);
  }
  return true;
}

std::string FileLock::line() const {
  std::array<char, 256> start{};
  const auto count = ::pread(descriptor_, start.data(), start.size(), 0);
  const std::string_view text{start.data(), count > 0 ? static_cast<std::size_t>(count) : 0};
  return std::string{text.substr(0, text.find('\n'))};
}

void FileLock::write_line(std::string_view text) {
  // In one piece, over what was there; what a longer one leaves stands behind the line's end.
  const auto line = fmt::format("{}\n", text);
  const auto count = ::pwrite(descriptor_, line.data(), line.size(), 0);
  if (count != static_cast<::ssize_t>(line.size())) refuse(path_, count < 0 ? errno : ENOSPC);
}

}  // namespace px
