#pragma once
#include "sandbox/instances.hpp"
#include "support/async.hpp"
#include "support/error.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace px::testing {

/// What a sample had, and at least from when to when: CLOCK_MONOTONIC, the same in all processes.
struct Use {
  std::uint32_t vmid = 0;
  std::vector<std::string> addresses{};
  std::chrono::steady_clock::time_point from{};
  std::chrono::steady_clock::time_point to{};
};

struct EvaluationTerms {
  std::string spec;  ///< JSON, of all samples
  int samples = 1;   ///< side by side
  std::function<void(const Use&)> on_use{};
};

/// What went wrong in an evaluation.
struct EvaluationErrors {
  std::optional<Error> start{};  ///< then there were no samples
  std::vector<Error> samples{};  ///< one for each that could not be made, or whose command failed
  std::vector<Error> ends{};     ///< of samples, and of the task
};

/// One evaluation as Inspect has it run by the adapter (python/proxmoxsandbox): the task's start,
/// in each sample a command, and the ends, whatever became of the rest, a cancellation too.
awaitable<EvaluationErrors> evaluate(asio::thread_pool& pool, sandbox::Environment environment,
                                     EvaluationTerms terms);

}  // namespace px::testing
