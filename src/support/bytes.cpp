#include "support/bytes.hpp"

#include "support/error.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>

namespace px {

std::string latin1_to_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xC0 | (byte >> 6));
      out += static_cast<char>(0x80 | (byte & 0x3F));
    }
  }
  return out;
}

std::string utf8_to_latin1(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      out += text[i];
      continue;
    }
    const bool two = (byte == 0xC2 || byte == 0xC3) && i + 1 < text.size() &&
                     (static_cast<unsigned char>(text[i + 1]) & 0xC0) == 0x80;
    if (!two) {
      throw Error{
          Errc::protocol,
          fmt::format("guest bytes hold something else than U+0000..U+00FF at offset {}", i)};
    }
    out += static_cast<char>((byte & 0x03) << 6 | (static_cast<unsigned char>(text[i + 1]) & 0x3F));
    ++i;
  }
  return out;
}

std::string to_hex(std::string_view bytes) {
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    out += digits[static_cast<unsigned char>(c) >> 4];
    out += digits[static_cast<unsigned char>(c) & 0xF];
  }
  return out;
}

std::string to_base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(length));
  return out;
}

std::string from_base64(std::string_view text) {
  if (text.empty()) return {};
  std::string out(text.size() / 4 * 3 + 3, '\0');
  const int length = text.size() % 4 != 0
                         ? -1
                         : EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                           reinterpret_cast<const unsigned char*>(text.data()),
                                           static_cast<int>(text.size()));
  // EVP_DecodeBlock forgives white space at both ends and padding anywhere; we don't.
  const auto end = std::min(text.find('='), text.size());
  const auto padding = text.size() - end;
  const bool strict = text.find_first_of(" \t\r\n") == std::string_view::npos && padding <= 2 &&
                      text.find_first_not_of('=', end) == std::string_view::npos;
  if (length < 0 || !strict) throw Error{Errc::protocol, "broken base64"};
  out.resize(static_cast<std::size_t>(length) - padding);
  return out;
}

std::string percent_encode(std::string_view text) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                            (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (unreserved) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', digits[byte >> 4], digits[byte & 0xF]};
    }
  }
  return out;
}

std::string percent_decode(std::string_view text, bool plus_is_blank) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_blank) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      const int high = i + 1 < text.size() ? digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) throw Error{Errc::bad_input, "broken percent escape"};
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out{text};
  constexpr unsigned char first_printable = 0x20;
  constexpr unsigned char rubout = 0x7f;
  std::ranges::replace_if(
      out, [](unsigned char c) { return c < first_printable || c == rubout; }, '?');
  return out;
}

std::string random_bytes(std::size_t count) {
  std::string out(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(count)) != 1) {
    throw Error{Errc::internal, "the system's random generator failed"};
  }
  return out;
}

std::string random_hex(std::size_t count) {
  return to_hex(random_bytes((count + 1) / 2)).substr(0, count);
}

Hash::Hash(HashKind kind) : context_{EVP_MD_CTX_new(), EVP_MD_CTX_free} {
  const auto* algorithm = kind == HashKind::sha1     ? EVP_sha1()
                          : kind == HashKind::sha256 ? EVP_sha256()
                                                     : EVP_sha512();
  if (!context_ || EVP_DigestInit_ex(context_.get(), algorithm, nullptr) != 1) {
    throw Error{Errc::internal, "OpenSSL lacks a hash algorithm"};
  }
}

void Hash::update(std::string_view piece) {
  EVP_DigestUpdate(context_.get(), piece.data(), piece.size());
}

std::string Hash::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  EVP_DigestFinal_ex(context_.get(), digest.data(), &length);
  return to_hex({reinterpret_cast<const char*>(digest.data()), length});
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 sum;
  sum.update(bytes);
  return sum.hex();
}

std::string sha1_hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha1(), nullptr) != 1) {
    throw Error{Errc::internal, "SHA-1 is not available"};
  }
  return to_hex({reinterpret_cast<const char*>(digest.data()), length});
}

}  // namespace px
