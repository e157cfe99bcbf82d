#include "pve/instance.hpp"

#include "pve/connection.hpp"
#include "support/error.hpp"

#include <algorithm>
#include <array>

namespace px::pve {

namespace {

std::string lower(std::string_view text) {
  std::string out{text};
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return out;
}

/// RFC 9110 section 5.6.2.
bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view{"!#$%&'*+-.^_`|~"}.find(c) != std::string_view::npos;
  });
}

}  // namespace

std::string full_token_id(const Instance& instance) {
  const auto& id = instance.token_id;
  if (id.empty() || id.find('!') != std::string::npos) return id;
  const bool has_realm = instance.user.find('@') != std::string::npos;
  return (has_realm ? instance.user : instance.user + "@" + instance.realm) + "!" + id;
}

std::string full_user(const Instance& instance) {
  const auto token = full_token_id(instance);
  if (!token.empty()) return token.substr(0, token.find('!'));
  if (instance.user.find('@') != std::string::npos) return instance.user;
  return instance.user + "@" + instance.realm;
}

void check_extra_header(std::string_view name, std::string_view value) {
  constexpr std::array<std::string_view, 13> ours{
      "authorization", "cookie", "csrfpreventiontoken", "host",   "content-length",
      "content-type",  "accept", "transfer-encoding",   "expect", "connection",
      "upgrade",       "te",     "accept-encoding"};
  if (!is_token(name)) throw_bad_input("extra header", name, "that is no name of a header");
  if (std::ranges::find(ours, lower(name)) != ours.end()) {
    throw_bad_input("extra header", name, "this one is set by the client itself");
  }
  // The value may be a secret: it is not shown.
  if (value.find_first_of(std::string_view{"\r\n\0", 3}) != std::string_view::npos) {
    throw_bad_input("extra header", name, "its value holds a line break");
  }
}

void check(const Instance& instance) {
  const auto& host = instance.host;
  if (host.empty()) {
    throw Error{Errc::bad_input, "no host is given"}.with_hint(
        "Set PROXMOX_HOST to the server's name or address");
  }
  if (host.find_first_of("/ @?#") != std::string::npos) {
    throw_bad_input("host", host, "a name or address without scheme, port and path is wanted");
  }
  if (instance.port < 1 || instance.port > 65535) {
    throw_bad_input("port", std::to_string(instance.port), "a port is a number of 1 to 65535");
  }
  if (instance.token_id.empty() != instance.token_secret.empty()) {
    throw Error{Errc::bad_input, "an API token needs both its id and its secret"}.with_hint(
        "Set both PROXMOX_TOKEN_ID and PROXMOX_TOKEN_SECRET");
  }
  if (instance.token_id.empty() && instance.password.empty()) {
    throw Error{Errc::bad_input, "no password and no API token is given"}.with_hint(
        "Set PROXMOX_PASSWORD, or PROXMOX_TOKEN_ID and PROXMOX_TOKEN_SECRET");
  }
  if (!instance.fingerprint.empty()) parse_fingerprint(instance.fingerprint);
  for (const auto& [name, value] : instance.extra_headers) check_extra_header(name, value.reveal());
}

}  // namespace px::pve
