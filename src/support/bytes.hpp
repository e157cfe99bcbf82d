#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

/// Bytes as text and back. A byte string is a std::string throughout the project.
namespace px {

/// Each byte 0..255 becomes the character U+0000..U+00FF, in UTF-8: how Proxmox VE puts a guest's
/// bytes into JSON (pve-common JSON of undecoded strings) and takes them in `input-data`.
std::string latin1_to_utf8(std::string_view bytes);
/// The way back. Throws Error{protocol} on a character above U+00FF or broken UTF-8.
std::string utf8_to_latin1(std::string_view text);

std::string to_hex(std::string_view bytes);
std::string to_base64(std::string_view bytes);
/// Strict: padding required, no line breaks. Throws Error{protocol}.
std::string from_base64(std::string_view text);

/// Percent-encodes all but unreserved characters (RFC 3986 section 2.3).
std::string percent_encode(std::string_view text);
/// Throws Error{bad_input} on a broken escape.
std::string percent_decode(std::string_view text, bool plus_is_blank = false);

/// Control characters as `?`: for texts of strangers that end up on a terminal or in a log.
std::string printable(std::string_view text);

/// `count` random bytes from the system's generator.
std::string random_bytes(std::size_t count);
/// `count` random characters of [0-9a-f].
std::string random_hex(std::size_t count);

enum class HashKind : std::uint8_t { sha1, sha256, sha512 };

/// A hash in pieces.
class Hash {
 public:
  explicit Hash(HashKind kind);
  void update(std::string_view piece);
  /// Lower-case hexadecimal; ends the computation.
  std::string hex();

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

class Sha256 : public Hash {
 public:
  Sha256() : Hash{HashKind::sha256} {}
};
std::string sha256_hex(std::string_view bytes);
/// SHA-1, for where a protocol has it. It protects nothing.
std::string sha1_hex(std::string_view bytes);

}  // namespace px
