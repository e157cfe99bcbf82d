#pragma once
#include "image/window.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>

/// For the readers of disk headers: numbers at places, and errors.
namespace px::image {

constexpr std::uint64_t sector_bytes = 512;

[[noreturn]] inline void refuse_disk(const Window& bytes, const std::string& said) {
  throw Error{Errc::bad_input, bytes.name() + ": " + printable(said)};
}

/// Bytes at a place in an image; what is cut off is an error.
class Fields {
 public:
  /// `what` is read: "the header of qcow2".
  Fields(const Window& image, std::uint64_t at, std::size_t count, std::string_view what)
      : bytes_{image.read(at, count)} {
    if (bytes_.size() == count) return;
    refuse_disk(image, std::string{what} + " is cut off: " + std::to_string(count) +
                           " bytes at offset " + std::to_string(at) + ", the image ends at " +
                           std::to_string(image.size()));
  }

  std::string_view text(std::size_t at, std::size_t count) const {
    return std::string_view{bytes_}.substr(at, count);
  }
  std::uint64_t big(std::size_t at, std::size_t width) const {
    std::uint64_t out = 0;
    for (const char c : text(at, width)) out = out << 8U | static_cast<unsigned char>(c);
    return out;
  }
  std::uint64_t little(std::size_t at, std::size_t width) const {
    std::uint64_t out = 0;
    for (std::size_t i = width; i-- > 0;)
      out = out << 8U | static_cast<unsigned char>(bytes_[at + i]);
    return out;
  }

 private:
  std::string bytes_;
};

/// Sectors to bytes. Nobody's disk has 2^63 bytes.
inline std::uint64_t bytes_of_sectors(const Window& image, std::uint64_t sectors,
                                      std::string_view what) {
  if (sectors > (UINT64_MAX >> 1U) / sector_bytes) {
    refuse_disk(image, std::string{what} + " is " + std::to_string(sectors) +
                           " sectors, which is no size; the header is broken");
  }
  return sectors * sector_bytes;
}

}  // namespace px::image
