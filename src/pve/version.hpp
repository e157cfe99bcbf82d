#pragma once
#include "pve/client.hpp"

#include <compare>
#include <string>
#include <string_view>

/// GET /version.
namespace px::pve {

struct Version {
  int major = 0;
  int minor = 0;
  int patch = 0;

  /// `9.1.11`, `8.4`, `9.0.0~11`. Throws Error{protocol}.
  static Version parse(std::string_view text);
  std::string text() const;
  friend auto operator<=>(const Version&, const Version&) = default;
};

awaitable<Version> server_version(Client& client, CallOptions options = {});

}  // namespace px::pve
