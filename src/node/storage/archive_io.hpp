#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

struct archive;

/// Files through libarchive: one compressed stream, or the members of a tar. Everything blocks:
/// call it through run_in_pool. Errors are Error{rejected} with libarchive's words.
namespace px::node {

struct ArchiveCloser {
  void operator()(archive* open) const noexcept;
};
using ArchivePtr = std::unique_ptr<archive, ArchiveCloser>;

/// Reads a file that may be compressed (gzip, bzip2, zstd, found by its first bytes) as one
/// stream.
class CompressedReader {
 public:
  explicit CompressedReader(const std::filesystem::path& file);
  /// The number of bytes that were put into `out`; fewer than asked for only at the end.
  std::size_t read(std::span<char> out);

 private:
  ArchivePtr archive_;
};

enum class Compression : std::uint8_t { none, gzip, zstd };

/// Writes a file of one compressed stream.
class CompressedWriter {
 public:
  CompressedWriter(const std::filesystem::path& file, Compression compression);
  void write(std::span<const char> bytes);
  /// Ends the stream; without it the file is not whole.
  void close();

 private:
  ArchivePtr archive_;
};

/// Calls `look` with the name of each member of a tar, until it returns false. Nothing of a member
/// is read.
void list_tar(const std::filesystem::path& tar,
              const std::function<bool(const std::string& name)>& look);
/// Writes the member `name` (exactly so) to `target`, which is removed again when that fails. Only
/// a regular file is taken: links could lead out.
void extract_from_tar(const std::filesystem::path& tar, const std::string& name,
                      const std::filesystem::path& target);
/// The bytes of the first member whose name ends with `suffix`, at most `limit`.
std::string read_from_tar(const std::filesystem::path& tar, const std::string& suffix,
                          std::size_t limit);

}  // namespace px::node
