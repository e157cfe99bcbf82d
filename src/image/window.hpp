#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace px::image {

/// Bytes that are read by their place: a file here or in the web, a part of one (a member of an
/// OVA), or memory.
/// Copies share the open file. Its reads block: run_in_pool().
class Window {
 public:
  /// `size` at most, from `offset` on, as far as the file goes. Throws Error{bad_input} when the
  /// file can't be opened or is no regular file (a block device has no size to speak of). A URL is
  /// a path, too: see WebParts.
  static Window of_file(const std::filesystem::path& path, std::uint64_t offset = 0,
                        std::uint64_t size = to_the_end);
  /// `bytes` must outlive it.
  static Window of_memory(std::string_view bytes, std::string name);

  static constexpr std::uint64_t to_the_end = UINT64_MAX;

  /// A part of this one, as far as it goes; `name` is added to the name for errors.
  Window part(std::uint64_t offset, std::uint64_t size, std::string_view name) const;

  std::uint64_t size() const noexcept { return size_; }
  /// For errors: "box.ova: disk1.vmdk".
  const std::string& name() const noexcept { return name_; }

  /// Up to `count` bytes at `at`; fewer at the end only, none behind it. Throws Error{bad_input}
  /// when the file can't be read.
  std::string read(std::uint64_t at, std::size_t count) const;

 private:
  using Read = std::function<std::string(std::uint64_t at, std::size_t count)>;
  Window(std::shared_ptr<const Read> read, std::uint64_t offset, std::uint64_t size,
         std::string name);

  std::shared_ptr<const Read> read_;
  std::uint64_t offset_;
  std::uint64_t size_;
  std::string name_;
};

}  // namespace px::image
