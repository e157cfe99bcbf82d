#include "image/file_sum.hpp"

#include "image/window.hpp"
#include "support/error.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace px::image {

namespace {

constexpr std::size_t sha256_digits = 64;
constexpr std::size_t sha512_digits = 128;
constexpr std::size_t sum_piece = 1U << 20U;

}  // namespace

std::string Checksum::algorithm() const {
  return kind == HashKind::sha512 ? "sha512" : "sha256";
}

std::string Checksum::text() const {
  return fmt::format("{}:{}", algorithm(), hex);
}

Checksum parse_checksum(std::string_view field, std::string_view text) {
  const auto colon = text.find(':');
  const auto word = boost::algorithm::to_lower_copy(
      std::string{colon == std::string_view::npos ? "" : text.substr(0, colon)});
  Checksum out;
  out.hex = boost::algorithm::to_lower_copy(
      std::string{colon == std::string_view::npos ? text : text.substr(colon + 1)});
  out.kind = out.hex.size() == sha512_digits ? HashKind::sha512 : HashKind::sha256;
  const bool has_digits =
      (out.hex.size() == sha256_digits || out.hex.size() == sha512_digits) &&
      std::ranges::all_of(out.hex, [](unsigned char c) { return std::isxdigit(c) != 0; });
  const bool fits = word.empty() || word == out.algorithm();
  if (!has_digits || !fits) {
    throw_bad_input(field, text,
                    "a checksum is sha256: and 64, or sha512: and 128 hexadecimal digits");
  }
  return out;
}

std::string file_sum(const std::filesystem::path& path, HashKind kind,
                     const SumProgress& progress) {
  const auto bytes = Window::of_file(path);
  Hash sum{kind};
  for (std::uint64_t at = 0; at < bytes.size();) {
    const auto piece = bytes.read(at, sum_piece);
    if (piece.empty()) throw_bad_input("file", path.string(), "it was cut off while it was read");
    sum.update(piece);
    at += piece.size();
    if (progress) progress(at, bytes.size());
  }
  return sum.hex();
}

std::string file_sha256(const std::filesystem::path& path, const SumProgress& progress) {
  return file_sum(path, HashKind::sha256, progress);
}

}  // namespace px::image
