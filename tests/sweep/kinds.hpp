#pragma once
#include "support/error.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>

namespace px::testing {

/// How the n-th request goes wrong.
struct Kind {
  std::string name;
  std::string fault;          ///< a form for /_control/faults
  std::optional<Errc> error;  ///< what the request may end with; none: it must be survived
  bool by_password = false;   ///< with a login as the first request; else by token

  /// A ticket that was refused is renewed; a login that was refused has a wrong password.
  bool may_fail(int n) const { return error && (!by_password || n == 1); }

  friend void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
};

inline const Kind refused{"refused", "action=answer&message=refused&status=500", Errc::server};

inline auto all_kinds() {
  const std::string answer = "action=answer&message=";
  const std::string lock = "can%27t+lock+file+%27%2Fvar%2Flock%2Fx.conf%27+-+got+timeout";
  return ::testing::Values(
      refused, Kind{"locked", answer + lock + "&status=500", Errc::busy},
      Kind{"lostBefore", "action=drop_before", std::nullopt, true},
      Kind{"lostAfter", "action=drop_after", std::nullopt, true},
      Kind{"lostByTheProxy", answer + "timeout&status=596", std::nullopt},
      Kind{"delayed", "action=delay&delay_ms=50", std::nullopt, true},
      Kind{"unauthorisedByToken", answer + "No+ticket&status=401", Errc::auth},
      Kind{"unauthorisedByTicket", answer + "No+ticket&status=401", Errc::auth, true});
}

inline std::string name_of_kind(const ::testing::TestParamInfo<Kind>& info) {
  return info.param.name;
}

}  // namespace px::testing
