#include "guest/gunzip.hpp"

#include "support/error.hpp"

#include <zlib.h>

#include <memory>

namespace px::guest {

std::string gunzip(std::string_view packed, std::uint64_t limit) {
  z_stream stream{};
  constexpr int gzip_only = 16 + MAX_WBITS;
  if (inflateInit2(&stream, gzip_only) != Z_OK) throw Error{Errc::internal, "zlib does not start"};
  const std::unique_ptr<z_stream, int (*)(z_streamp)> owner{&stream, inflateEnd};
  // zlib's interface predates const; it does not write here.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string out;
  std::string piece(256 * 1024, '\0');
  int state = Z_OK;
  while (state != Z_STREAM_END || stream.avail_in > 0) {
    if (state == Z_STREAM_END) inflateReset(&stream);
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    state = inflate(&stream, Z_NO_FLUSH);
    const auto got = piece.size() - stream.avail_out;
    if ((state != Z_OK && state != Z_STREAM_END) ||
        (state == Z_OK && got == 0 && stream.avail_in == 0)) {
      throw Error{Errc::protocol, "compressed bytes from the guest are broken"};
    }
    if (out.size() + got > limit) {
      throw Error{Errc::protocol, "compressed bytes from the guest hold more than was said"};
    }
    out.append(piece, 0, got);
  }
  return out;
}

}  // namespace px::guest
