#include "pve/version.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace px::pve {

Version Version::parse(std::string_view text) {
  std::array<int, 3> part{};
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (std::size_t i = 0; i < part.size(); ++i) {
    const auto [next, error] = std::from_chars(at, end, part[i]);
    if (error != std::errc{} || part[i] < 0) {
      throw Error{Errc::protocol, fmt::format("\"{}\" is no version", text)};
    }
    at = next;
    // What follows the numbers (`~11`, `-1`, `+1`) is of no interest.
    if (at == end || *at != '.') break;
    ++at;
  }
  return {part[0], part[1], part[2]};
}

std::string Version::text() const {
  return fmt::format("{}.{}.{}", major, minor, patch);
}

awaitable<Version> server_version(Client& client, CallOptions options) {
  options.load = Load::light;
  const auto data = co_await client.get("/version", {}, std::move(options));
  co_return Version::parse(json::text_at(data, "version"));
}

}  // namespace px::pve
