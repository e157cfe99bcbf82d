#include "pve/body_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace px::pve {

namespace {

std::string error_text(int number) {
  return std::generic_category().message(number);
}

class FileSource final : public BodySource {
 public:
  FileSource(asio::thread_pool& pool, std::filesystem::path path, std::uint64_t offset,
             std::uint64_t size)
      : pool_{pool},
        path_{std::move(path)},
        file_{::open(path_.c_str(), O_RDONLY | O_CLOEXEC)},
        offset_{offset} {
    struct stat info{};
    if (file_ < 0 || ::fstat(file_, &info) != 0) fail_to_open(error_text(errno));
    if (!S_ISREG(info.st_mode)) fail_to_open("not a regular file");
    const auto whole = static_cast<std::uint64_t>(info.st_size);
    size_ = std::min(size, whole - std::min(offset, whole));
  }
  ~FileSource() override { close(); }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  std::uint64_t size() const override { return size_; }
  void rewind() override { position_ = 0; }

  awaitable<std::size_t> read(std::span<char> room) override {
    const auto wanted = std::min<std::uint64_t>(room.size(), size_ - position_);
    if (wanted == 0) co_return 0;
    const auto got = co_await run_in_pool(pool_, [&] {
      const auto count =
          ::pread(file_, room.data(), wanted, static_cast<off_t>(offset_ + position_));
      if (count < 0) {
        throw Error{Errc::bad_input, fmt::format("{}: {}", path_.string(), error_text(errno))};
      }
      return static_cast<std::size_t>(count);
    });
    if (got == 0) {
      throw Error{Errc::bad_input,
                  fmt::format("{} became shorter while it was read", path_.string())};
    }
    position_ += got;
    co_return got;
  }

 private:
  [[noreturn]] void fail_to_open(const std::string& why) {
    close();
    throw Error{Errc::bad_input, fmt::format("can't read {}: {}", path_.string(), why)};
  }
  void close() noexcept {
    if (file_ >= 0) ::close(std::exchange(file_, -1));
  }

  asio::thread_pool& pool_;
  std::filesystem::path path_;
  int file_;
  std::uint64_t offset_;
  std::uint64_t size_ = 0;
  std::uint64_t position_ = 0;
};

class MemorySource final : public BodySource {
 public:
  explicit MemorySource(std::vector<std::string> pieces) : pieces_{std::move(pieces)} {
    for (const auto& piece : pieces_) size_ += piece.size();
  }

  std::uint64_t size() const override { return size_; }
  void rewind() override { index_ = offset_ = 0; }

  awaitable<std::size_t> read(std::span<char> room) override {
    std::size_t filled = 0;
    while (filled < room.size() && index_ < pieces_.size()) {
      const auto& piece = pieces_[index_];
      const auto count = std::min(room.size() - filled, piece.size() - offset_);
      std::memcpy(room.data() + filled, piece.data() + offset_, count);
      filled += count;
      offset_ += count;
      if (offset_ == piece.size()) {
        ++index_;
        offset_ = 0;
      }
    }
    co_return filled;
  }

 private:
  std::vector<std::string> pieces_;
  std::uint64_t size_ = 0;
  std::size_t index_ = 0;
  std::size_t offset_ = 0;
};

}  // namespace

std::unique_ptr<BodySource> file_source(asio::thread_pool& pool, std::filesystem::path path,
                                        std::uint64_t offset, std::uint64_t size) {
  return std::make_unique<FileSource>(pool, std::move(path), offset, size);
}

std::unique_ptr<BodySource> memory_source(std::vector<std::string> pieces) {
  return std::make_unique<MemorySource>(std::move(pieces));
}

}  // namespace px::pve
