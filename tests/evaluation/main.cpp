// A process that is one evaluation: evaluation SPEC SAMPLES, with the servers of its environment.
// A line for each VM, when it is no more used: VMID ADDRESS FROM TO, times in ns. Exit status 1
// when anything went wrong, with the errors on standard error.
#include "evaluation/evaluation.hpp"
#include "run.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

namespace {

void tell(const px::testing::Use& use) {
  fmt::print("{} {} {} {}\n", use.vmid, use.addresses.empty() ? "-" : use.addresses.front(),
             use.from.time_since_epoch().count(), use.to.time_since_epoch().count());
}

int report(const px::testing::EvaluationErrors& errors) {
  int count = 0;
  const auto tell_error = [&](std::string_view when, const px::Error& error) {
    ++count;
    fmt::print(stderr, "{}: {}: {}\n", when, name_of(error.kind), error.what());
  };
  if (errors.start) tell_error("start", *errors.start);
  for (const auto& error : errors.samples) tell_error("sample", error);
  for (const auto& error : errors.ends) tell_error("end", error);
  return count == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: evaluation SPEC SAMPLES\n");
    return 2;
  }
  px::asio::thread_pool pool{1};
  return report(px::testing::run(
      px::testing::evaluate(pool, px::sandbox::process_environment(),
                            {.spec = argv[1], .samples = std::atoi(argv[2]), .on_use = tell})));
}
