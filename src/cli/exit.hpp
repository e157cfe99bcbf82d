#pragma once
#include "support/error.hpp"

/// Exit codes of the command line (docs/configuration.md).
namespace px::cli {

inline constexpr int findings = 1;  ///< it works, and there is something to see to
inline constexpr int failed = 1;
inline constexpr int wrong_usage = 2;
inline constexpr int unreachable = 3;  ///< no server
inline constexpr int refused = 4;      ///< the server said no

inline int exit_code_of(const Error& error) noexcept {
  switch (error.kind) {
    case Errc::bad_input:
      return wrong_usage;
    case Errc::unreachable:
    case Errc::tls:
      return unreachable;
    case Errc::auth:
    case Errc::forbidden:
      return refused;
    default:
      return failed;
  }
}

}  // namespace px::cli
