#include "sweep/ends.hpp"

#include "run.hpp"
#include "sandbox/cleanup.hpp"

#include <algorithm>

namespace px::testing {

namespace {

/// One error, of the expected kind, that names the server.
void check_errors(std::optional<Errc> wanted, Ends& ends) {
  if (ends.failure && ends.failure_of_end) {
    ends.mistakes.push_back("one fault made two errors");
  }
  for (const auto& error : {ends.failure, ends.failure_of_end}) {
    if (!error) continue;
    if (error->kind != wanted) ends.mistakes.push_back("another kind of error is wanted");
    if (std::string{error->what()}.find("127.0.0.1") == std::string::npos) {
      ends.mistakes.push_back("the error does not name the server");
    }
  }
}

/// Clean-up by marks finds nothing that nobody spoke of, and afterwards nothing is left.
void check_end(Lane& lane, Ends& ends, const std::vector<std::string>& log) {
  const bool was_said = ends.failure_of_end || std::ranges::any_of(log, [](const auto& line) {
                          return line.starts_with("WARNING");
                        });
  try {
    const auto removed =
        run(sandbox::cleanup_from_environment(lane.pool(), "", lane.environment()));
    for (const auto& thing : removed) {
      if (!was_said) ends.mistakes.push_back("left without a word: " + thing);
    }
  } catch (const Error& error) {
    ends.mistakes.push_back(fmt::format("clean-up failed: {}", error.what()));
  }
  for (const auto& thing : lane.leftovers()) ends.mistakes.push_back(thing);
}

}  // namespace

void finish(Lane& lane, int n, const Kind& kind, Ends& ends, Round& round) {
  check_errors(kind.may_fail(n) ? kind.error : std::nullopt, ends);
  check_end(lane, ends, round_log());
  for (const auto& error : {ends.failure, ends.failure_of_end}) {
    if (error) round.end = fmt::format("{}: {}", name_of(error->kind), error->what());
  }
  round.mistakes = std::move(ends.mistakes);
}

}  // namespace px::testing
