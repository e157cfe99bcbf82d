#include "image/ova_members.hpp"

#include "support/bytes.hpp"
#include "support/error.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <array>
#include <memory>
#include <optional>
#include <set>
#include <sys/stat.h>

namespace px::image {

namespace {

using Reader = std::unique_ptr<archive, int (*)(archive*)>;

/// More files than any appliance has; the table stays small.
constexpr std::size_t most_members = 10'000;

/// How libarchive reads a window, and where it is.
struct Feed {
  const Window& tar;
  std::uint64_t at = 0;
  std::string piece{};
  std::exception_ptr failure{};
};

la_ssize_t read_piece(archive* reader, void* context, const void** bytes) {
  auto& feed = *static_cast<Feed*>(context);
  // Small: what is skipped after a header is not read, save the rest of a piece.
  constexpr std::size_t piece_size = 16 * 1024;
  try {
    feed.piece = feed.tar.read(feed.at, piece_size);
  } catch (...) {
    // An exception must not pass through libarchive's C.
    feed.failure = std::current_exception();
    archive_set_error(reader, EIO, "can't be read");
    return ARCHIVE_FATAL;
  }
  feed.at += feed.piece.size();
  *bytes = feed.piece.data();
  return static_cast<la_ssize_t>(feed.piece.size());
}

la_int64_t skip(archive*, void* context, la_int64_t request) {
  auto& feed = *static_cast<Feed*>(context);
  const auto left = static_cast<la_int64_t>(feed.tar.size() - feed.at);
  const auto step = std::min(request, left);
  feed.at += static_cast<std::uint64_t>(step);
  return step;
}

[[noreturn]] void fail(const Window& tar, std::uint64_t offset, const std::string& said) {
  throw Error{Errc::bad_input, fmt::format("{}: offset {}: {}", tar.name(), offset, said)};
}

/// What a file is that is no tar, as far as its first bytes tell.
void refuse_what_is_no_tar(const Window& tar) {
  constexpr std::size_t block = 512;
  const auto head = tar.read(0, block);
  if (head.empty()) fail(tar, 0, "the file is empty; an OVA is a tar");
  if (head.starts_with("\x1f\x8b") ||
      head.starts_with("\xfd"
                       "7zXZ") ||
      head.starts_with("BZh") || head.starts_with("\x28\xb5\x2f\xfd")) {
    throw Error{Errc::bad_input,
                fmt::format("{}: it is compressed; an OVA is a plain tar", tar.name())}
        .with_hint("Unpack it (gunzip, xz -d, ...) and name the result.");
  }
  if (head.starts_with("PK")) fail(tar, 0, "it is a zip; an OVA is a tar");
  if (head.find("<Envelope") != std::string::npos || head.starts_with("<?xml")) {
    fail(tar, 0, "it is XML; if this is an OVF descriptor, its name must end in .ovf");
  }
}

Reader open(Feed& feed) {
  Reader reader{archive_read_new(), archive_read_free};
  if (!reader) throw Error{Errc::internal, "libarchive does not start"};
  archive_read_support_format_tar(reader.get());
  archive_read_set_read_callback(reader.get(), read_piece);
  archive_read_set_skip_callback(reader.get(), skip);
  archive_read_set_callback_data(reader.get(), &feed);
  if (archive_read_open1(reader.get()) != ARCHIVE_OK) {
    if (feed.failure) std::rethrow_exception(feed.failure);
    fail(feed.tar, 0, "it is no tar, so no OVA");
  }
  return reader;
}

/// Names are bytes here. libarchive converts them from and to the locale's character set, which
/// is plain ASCII in a program that sets none: the raw form is there when the other is not.
std::string raw_name(archive_entry* entry) {
  for (const char* name : {archive_entry_pathname_utf8(entry), archive_entry_pathname(entry)}) {
    if (name != nullptr) return name;
  }
  return {};
}

/// Relative, without `.` parts. `offset` is for the error.
std::string safe_name(const Window& tar, const std::string& raw, std::uint64_t offset) {
  const auto refuse = [&](std::string_view why) {
    fail(tar, offset, fmt::format("member \"{}\": {}", printable(raw), why));
  };
  if (raw.empty()) refuse("it has no readable name");
  if (printable(raw) != raw) refuse("the name has control characters");
  if (raw.front() == '/') refuse("the name is absolute; members of an OVA have relative names");
  std::string out;
  std::size_t at = 0;
  while (at <= raw.size()) {
    const auto end = std::min(raw.find('/', at), raw.size());
    const auto part = raw.substr(at, end - at);
    if (part == "..") refuse("the name leads out of the OVA by `..`");
    if (!part.empty() && part != ".") out += (out.empty() ? "" : "/") + part;
    at = end + 1;
  }
  return out;
}

/// nullopt for a plain file or a folder, else what it is.
std::optional<std::string> unwanted_kind(archive_entry* entry) {
  if (archive_entry_hardlink(entry) != nullptr) return "a hard link";
  if (archive_entry_sparse_count(entry) > 0) return "a sparse file";
  switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
    case AE_IFDIR:
      return std::nullopt;
    case AE_IFLNK:
      return "a symbolic link";
    case AE_IFCHR:
    case AE_IFBLK:
      return "a device";
    case AE_IFIFO:
      return "a pipe";
    default:
      return "no plain file";
  }
}

/// The entry as a member; none for a folder. `header` is the offset of its header.
std::optional<Member> to_member(archive* reader, archive_entry* entry, const Window& tar,
                                std::uint64_t header) {
  auto name = safe_name(tar, raw_name(entry), header);
  if (const auto kind = unwanted_kind(entry)) {
    fail(tar, header, fmt::format("member \"{}\" is {}; an OVA has plain files only", name, *kind));
  }
  if (archive_entry_filetype(entry) == AE_IFDIR) return std::nullopt;
  if (name.empty()) fail(tar, header, "a member has no name");
  const auto size = archive_entry_size(entry);
  // After a header libarchive has taken exactly what belongs to it.
  const auto data = static_cast<std::uint64_t>(archive_filter_bytes(reader, 0));
  if (size < 0 || data > tar.size() || static_cast<std::uint64_t>(size) > tar.size() - data) {
    fail(tar, data,
         fmt::format("member \"{}\" is cut off: it has {} bytes, the file ends after {}", name,
                     size, tar.size() - std::min(data, tar.size())));
  }
  return Member{std::move(name), data, static_cast<std::uint64_t>(size)};
}

}  // namespace

std::vector<Member> read_members(const Window& tar) {
  refuse_what_is_no_tar(tar);
  Feed feed{tar};
  const auto reader = open(feed);
  std::vector<Member> out;
  std::set<std::string> names;
  for (;;) {
    archive_entry* entry = nullptr;
    const int state = archive_read_next_header(reader.get(), &entry);
    if (state == ARCHIVE_EOF) break;
    const auto header = static_cast<std::uint64_t>(archive_read_header_position(reader.get()));
    // A warning is of a name's characters or of attributes; what counts is checked here.
    if (state != ARCHIVE_OK && state != ARCHIVE_WARN) {
      if (feed.failure) std::rethrow_exception(feed.failure);
      const char* said = archive_error_string(reader.get());
      if (out.empty() && names.empty()) {
        fail(tar, header, fmt::format("it is no tar, so no OVA ({})", said ? said : "broken"));
      }
      fail(tar, header, fmt::format("the tar is broken or cut off: {}", said ? said : "no header"));
    }
    auto member = to_member(reader.get(), entry, tar, header);
    if (!member) continue;
    if (!names.insert(member->name).second) {
      fail(tar, header, fmt::format("member \"{}\" is there twice", member->name));
    }
    if (out.size() == most_members) {
      fail(tar, header, fmt::format("it has more than {} members", most_members));
    }
    out.push_back(std::move(*member));
  }
  return out;
}

}  // namespace px::image
