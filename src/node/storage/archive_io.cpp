#include "node/storage/archive_io.hpp"

#include "support/error.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace px::node {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t block_size = 1U << 16;

[[noreturn]] void fail(archive* from) {
  const char* text = ::archive_error_string(from);
  throw Error{Errc::rejected, text == nullptr ? "unknown error of libarchive" : text};
}

/// A warning (a header that is odd but readable) is no failure.
void check(archive* from, int result) {
  if (result < ARCHIVE_WARN) fail(from);
}

ArchivePtr open_tar(const fs::path& tar) {
  ArchivePtr archive{::archive_read_new()};
  check(archive.get(), ::archive_read_support_format_tar(archive.get()));
  check(archive.get(), ::archive_read_open_filename(archive.get(), tar.c_str(), block_size));
  return archive;
}

/// The next member, or nullptr at the end.
archive_entry* next_member(archive* from) {
  archive_entry* entry = nullptr;
  const int result = ::archive_read_next_header(from, &entry);
  if (result == ARCHIVE_EOF) return nullptr;
  check(from, result);
  return entry;
}

std::string name_of(archive_entry* entry) {
  const char* name = ::archive_entry_pathname(entry);
  return name == nullptr ? "" : name;
}

bool is_file(archive_entry* entry) {
  return ::archive_entry_filetype(entry) == AE_IFREG && ::archive_entry_hardlink(entry) == nullptr;
}

void write_member(archive* from, const fs::path& target) {
  const int out = ::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (out < 0) {
    throw Error{Errc::rejected, fmt::format("{}: {}", target.string(), std::strerror(errno))};
  }
  const int result = ::archive_read_data_into_fd(from, out);
  ::close(out);
  if (result == ARCHIVE_OK) return;
  std::error_code ignored;
  fs::remove(target, ignored);
  fail(from);
}

}  // namespace

void ArchiveCloser::operator()(archive* open) const noexcept {
  ::archive_free(open);
}

CompressedReader::CompressedReader(const fs::path& file) : archive_{::archive_read_new()} {
  auto* const a = archive_.get();
  check(a, ::archive_read_support_filter_gzip(a));
  check(a, ::archive_read_support_filter_bzip2(a));
  check(a, ::archive_read_support_filter_zstd(a));
  check(a, ::archive_read_support_format_raw(a));
  check(a, ::archive_read_open_filename(a, file.c_str(), block_size));
  if (next_member(a) == nullptr)
    throw Error{Errc::rejected, file.filename().string() + " is empty"};
}

std::size_t CompressedReader::read(std::span<char> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto got = ::archive_read_data(archive_.get(), out.data() + done, out.size() - done);
    if (got < 0) fail(archive_.get());
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

CompressedWriter::CompressedWriter(const fs::path& file, Compression compression)
    : archive_{::archive_write_new()} {
  auto* const a = archive_.get();
  if (compression == Compression::gzip) check(a, ::archive_write_add_filter_gzip(a));
  if (compression == Compression::zstd) check(a, ::archive_write_add_filter_zstd(a));
  check(a, ::archive_write_set_format_raw(a));
  // No padding of the last block: the file ends where its stream does.
  check(a, ::archive_write_set_bytes_in_last_block(a, 1));
  check(a, ::archive_write_open_filename(a, file.c_str()));
  const std::unique_ptr<archive_entry, decltype(&::archive_entry_free)> entry{
      ::archive_entry_new(), &::archive_entry_free};
  ::archive_entry_set_filetype(entry.get(), AE_IFREG);
  check(a, ::archive_write_header(a, entry.get()));
}

void CompressedWriter::write(std::span<const char> bytes) {
  while (!bytes.empty()) {
    const auto done = ::archive_write_data(archive_.get(), bytes.data(), bytes.size());
    if (done < 0) fail(archive_.get());
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

void CompressedWriter::close() {
  check(archive_.get(), ::archive_write_close(archive_.get()));
}

void list_tar(const fs::path& tar, const std::function<bool(const std::string&)>& look) {
  const auto archive = open_tar(tar);
  while (auto* entry = next_member(archive.get())) {
    if (!look(name_of(entry))) return;
  }
}

void extract_from_tar(const fs::path& tar, const std::string& name, const fs::path& target) {
  const auto archive = open_tar(tar);
  while (auto* entry = next_member(archive.get())) {
    if (name_of(entry) != name) continue;
    if (!is_file(entry)) {
      throw Error{Errc::rejected, fmt::format("extracted file '{}' from archive '{}' is not a "
                                              "regular file",
                                              name, tar.filename().string())};
    }
    write_member(archive.get(), target);
    return;
  }
  throw Error{Errc::not_found, fmt::format("tar: {}: Not found in archive", name)};
}

std::string read_from_tar(const fs::path& tar, const std::string& suffix, std::size_t limit) {
  const auto archive = open_tar(tar);
  while (auto* entry = next_member(archive.get())) {
    if (!name_of(entry).ends_with(suffix) || !is_file(entry)) continue;
    std::string out(limit + 1, '\0');
    std::size_t done = 0;
    while (done < out.size()) {
      const auto got = ::archive_read_data(archive.get(), out.data() + done, out.size() - done);
      if (got < 0) fail(archive.get());
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    if (done > limit) {
      throw Error{Errc::rejected, fmt::format("{} in {} is larger than {} bytes", name_of(entry),
                                              tar.filename().string(), limit)};
    }
    out.resize(done);
    return out;
  }
  throw Error{Errc::not_found,
              fmt::format("{} has no {} file inside", tar.filename().string(), suffix)};
}

}  // namespace px::node
