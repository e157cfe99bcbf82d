#include "pve/instance.hpp"

#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace px::pve {

namespace {

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// What the client sets itself; a second value would change who we are or what we send.
constexpr std::array<std::string_view, 9> own_headers{
    "authorization", "cookie",     "csrfpreventiontoken", "host",   "content-length",
    "content-type",  "connection", "transfer-encoding",   "upgrade"};

bool is_token(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return c > 0x20 && c < 0x7f &&
           std::string_view{"()<>@,;:\\\"/[]?={}"}.find(c) == std::string_view::npos;
  });
}

}  // namespace

std::string parse_fingerprint(const std::string& text) {
  std::string digits = lower_case(text);
  std::erase(digits, ':');
  const bool hex = std::all_of(digits.begin(), digits.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (digits.size() != 64 || !hex) {
    throw_bad_input("fingerprint", text,
                    "it is a SHA-256: 32 pairs of hexadecimal digits, with or without colons");
  }
  return digits;
}

void check_instance(const Instance& instance) {
  if (!instance.fingerprint.empty()) parse_fingerprint(instance.fingerprint);
  for (const auto& [name, value] : instance.extra_headers) {
    if (std::find(own_headers.begin(), own_headers.end(), lower_case(name)) != own_headers.end()) {
      throw_bad_input("extra_headers", name, "this header is the client's own");
    }
    if (!is_token(name)) throw_bad_input("extra_headers", name, "it is no header name");
    if (value.reveal().find_first_of("\r\n") != std::string::npos) {
      throw Error{Errc::bad_input,
                  fmt::format("extra_headers: the value of {} has a line break", name)};
    }
  }
}

}  // namespace px::pve
