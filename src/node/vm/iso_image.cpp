#include "node/vm/iso_image.hpp"

#include "support/error.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <fstream>
#include <memory>

namespace px::node {

namespace {

using IsoWriter = std::unique_ptr<archive, decltype(&archive_write_free)>;
using IsoEntry = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;

/// ECMA-119, 8.4: the primary volume descriptor is sector 16, its label 32 bytes from byte 40 on.
constexpr std::streamoff label_offset = 16 * 2048 + 40;
constexpr std::size_t label_room = 32;

void add_file(archive* writer, const std::string& name, const std::string& content) {
  const IsoEntry entry{archive_entry_new(), &archive_entry_free};
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  if (archive_write_header(writer, entry.get()) != ARCHIVE_OK ||
      archive_write_data(writer, content.data(), content.size()) < 0) {
    throw Error{Errc::internal, fmt::format("{}: {}", name, archive_error_string(writer))};
  }
}

void write_files(const std::filesystem::path& image, const std::string& label,
                 const std::map<std::string, std::string>& files) {
  const IsoWriter writer{archive_write_new(), &archive_write_free};
  archive_write_set_format_iso9660(writer.get());
  const auto options = fmt::format("rockridge=useful,joliet,volume-id={}", label);
  if (archive_write_set_options(writer.get(), options.c_str()) != ARCHIVE_OK ||
      archive_write_open_filename(writer.get(), image.c_str()) != ARCHIVE_OK) {
    throw Error{Errc::internal,
                fmt::format("{}: {}", image.string(), archive_error_string(writer.get()))};
  }
  for (const auto& [name, content] : files) add_file(writer.get(), name, content);
  if (archive_write_close(writer.get()) != ARCHIVE_OK) {
    throw Error{Errc::internal,
                fmt::format("{}: {}", image.string(), archive_error_string(writer.get()))};
  }
}

/// libarchive keeps to the standard's capitals; guests look for the label as it is given.
void write_label(const std::filesystem::path& image, std::string label) {
  label.resize(label_room, ' ');
  std::fstream file{image, std::ios::in | std::ios::out | std::ios::binary};
  file.seekp(label_offset);
  file.write(label.data(), static_cast<std::streamsize>(label.size()));
  if (!file.flush()) throw Error{Errc::internal, image.string() + ": its label can't be written"};
}

}  // namespace

void write_iso_image(const std::filesystem::path& image, const std::string& label,
                     const std::map<std::string, std::string>& files, std::uint64_t bytes) {
  const std::filesystem::path beside = image.string() + ".new";
  try {
    write_files(beside, label, files);
    write_label(beside, label);
    if (std::filesystem::file_size(beside) < bytes) std::filesystem::resize_file(beside, bytes);
    std::filesystem::rename(beside, image);
  } catch (const std::exception& error) {
    std::error_code ignored;
    std::filesystem::remove(beside, ignored);
    throw Error{Errc::internal, fmt::format("{}: {}", image.string(), error.what())};
  }
}

}  // namespace px::node
