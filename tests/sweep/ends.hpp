#pragma once
#include "support/error.hpp"
#include "sweep/kinds.hpp"
#include "sweep/lane.hpp"

#include <optional>
#include <string>
#include <vector>

namespace px::testing {

/// What became of a sample's life and of its end, and what was wrong with it.
struct Ends {
  std::optional<Error> failure;
  std::optional<Error> failure_of_end;
  std::vector<std::string> mistakes;
};

/// Looks at the errors, cleans up by marks, looks at what is left then, and notes all that in the
/// round. Wanted: at most one error, of the kind's, that names the server; nothing is left that
/// nobody spoke of; and after the clean-up nothing at all.
void finish(Lane& lane, int n, const Kind& kind, Ends& ends, Round& round);

}  // namespace px::testing
