#include "image/iso_image.hpp"

#include "support/error.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <boost/endian/conversion.hpp>
#include <fmt/format.h>

#include <cstdint>
#include <memory>

namespace px::image {

namespace {

using IsoWriter = std::unique_ptr<archive, decltype(&archive_write_free)>;
using IsoEntry = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;

// ECMA-119 (ISO 9660), by section: 6.2.1 volume descriptors are the sectors from 16 on, the last
// one of type 255; 8.4 their fields; 9.1 directory records.
constexpr std::size_t iso_sector = 2048;
constexpr std::size_t first_descriptor = 16 * iso_sector;
constexpr char last_descriptor = '\xff';
constexpr std::size_t label_at = 40;
constexpr std::size_t label_room = 32;
constexpr std::size_t root_record_at = 156;
constexpr std::size_t volume_dates_at = 813;
constexpr std::size_t volume_dates_size = 68;
constexpr std::size_t extent_at = 2;
constexpr std::size_t extent_size_at = 10;
constexpr std::size_t record_date_at = 18;
constexpr std::size_t record_date_size = 7;

void check_iso(archive* writer, bool is_fine) {
  if (is_fine) return;
  throw Error{Errc::internal, fmt::format("ISO image: {}", archive_error_string(writer))};
}

la_ssize_t append_to_string(archive* /*writer*/, void* to, const void* bytes, std::size_t size) {
  static_cast<std::string*>(to)->append(static_cast<const char*>(bytes), size);
  return static_cast<la_ssize_t>(size);
}

void add_to_iso(archive* writer, const std::string& name, const std::string& content) {
  const IsoEntry entry{archive_entry_new(), &archive_entry_free};
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  check_iso(writer, archive_write_header(writer, entry.get()) == ARCHIVE_OK);
  check_iso(writer, archive_write_data(writer, content.data(), content.size()) >= 0);
}

std::string write_iso(const std::string& label, const std::map<std::string, std::string>& files) {
  std::string image;
  const IsoWriter writer{archive_write_new(), &archive_write_free};
  auto* iso = writer.get();
  archive_write_set_format_iso9660(iso);
  const auto options = fmt::format("!rockridge,joliet,!pad,volume-id={}", label);
  check_iso(iso, archive_write_set_options(iso, options.c_str()) == ARCHIVE_OK);
  check_iso(iso,
            archive_write_open(iso, &image, nullptr, &append_to_string, nullptr) == ARCHIVE_OK);
  for (const auto& [name, content] : files) add_to_iso(iso, name, content);
  check_iso(iso, archive_write_close(iso) == ARCHIVE_OK);
  return image;
}

std::size_t number_at(const std::string& image, std::size_t at) {
  const auto bytes = image.substr(at, sizeof(std::uint32_t));
  return boost::endian::load_little_u32(reinterpret_cast<const unsigned char*>(bytes.data()));
}

/// Of all files in the root directory, and of itself. A record of length 0 ends it.
void clear_record_dates(std::string& image, std::size_t root_record) {
  auto at = number_at(image, root_record + extent_at) * iso_sector;
  const auto end = at + number_at(image, root_record + extent_size_at);
  image.replace(root_record + record_date_at, record_date_size, record_date_size, '\0');
  while (at < end && image.at(at) != '\0') {
    image.replace(at + record_date_at, record_date_size, record_date_size, '\0');
    at += static_cast<unsigned char>(image.at(at));
  }
}

}  // namespace

std::string iso_image(const std::string& label, const std::map<std::string, std::string>& files) {
  auto image = write_iso(label, files);
  auto at = first_descriptor;
  // libarchive keeps to the standard's capitals; guests look for the label as it is given.
  std::string padded = label;
  padded.resize(label_room, ' ');
  image.replace(at + label_at, label_room, padded);
  // It writes the time of day, in the zone of this machine, into all that has a date.
  for (; image.at(at) != last_descriptor; at += iso_sector) {
    image.replace(at + volume_dates_at, volume_dates_size, volume_dates_size, '\0');
    clear_record_dates(image, at + root_record_at);
  }
  // And into a note of its own behind the descriptors, with its version.
  image.replace(at + iso_sector, iso_sector, iso_sector, '\0');
  return image;
}

}  // namespace px::image
