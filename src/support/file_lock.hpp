#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace px {

/// A file that one process at a time has, and may write a line into for the next one. The system
/// takes it back when its process ends, however that ends (flock(2)); the line stays. Two objects
/// of one process exclude each other, too.
class FileLock {
 public:
  /// Opens the file; makes it, and its directories, when it isn't there (mode 0600). Throws
  /// Error{rejected} with its path and the system's reason.
  explicit FileLock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept
      : descriptor_{std::exchange(other.descriptor_, -1)}, path_{std::move(other.path_)} {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(path_, other.path_);
    return *this;
  }

  /// False: another has it. Does not wait. Throws Error{rejected} where the file can't be locked.
  bool try_take();
  /// The file's first line; empty when there is none.
  std::string line() const;
  /// Replaces it. A process that is killed meanwhile leaves the old line or the new one. Throws
  /// Error{rejected}: a full disk.
  void write_line(std::string_view text);

 private:
  int descriptor_;
  std::filesystem::path path_;
};

}  // namespace px
