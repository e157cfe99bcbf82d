#include "evaluation/evaluation.hpp"

#include "sandbox/run.hpp"

namespace px::testing {

namespace {

using std::chrono::steady_clock;

awaitable<void> work_in(sandbox::Sandbox& sandbox, const EvaluationTerms& terms) {
  std::vector<Use> uses;
  for (const auto& vm : sandbox.vms()) {
    auto& use = uses.emplace_back(Use{vm->vmid()});
    use.from = steady_clock::now();
    for (const auto& [network, addresses] : vm->addresses()) {
      use.addresses.insert(use.addresses.end(), addresses.begin(), addresses.end());
    }
    guest::ExecRequest request;
    request.command.argv = {"true"};
    co_await vm->exec(std::move(request));
  }
  for (auto& use : uses) {
    use.to = steady_clock::now();
    if (terms.on_use) terms.on_use(use);
  }
}

awaitable<void> begin(sandbox::Run& run, const EvaluationTerms& terms, std::string sample,
                      std::shared_ptr<sandbox::Sandbox>& sandbox, EvaluationErrors& errors) {
  try {
    auto place = co_await run.take_place(terms.spec, "evaluation", sample);
    sandbox = co_await run.bring_up(terms.spec, "evaluation", sample, std::move(place));
    co_await work_in(*sandbox, terms);
  } catch (const Error& error) {
    errors.samples.push_back(error);
  }
}

awaitable<void> end(std::shared_ptr<sandbox::Sandbox>& sandbox, EvaluationErrors& errors) {
  try {
    if (sandbox) co_await sandbox->destroy();
  } catch (const Error& error) {
    errors.ends.push_back(error);
  }
}

awaitable<void> live(sandbox::Run& run, const EvaluationTerms& terms, std::string sample,
                     EvaluationErrors& errors) {
  std::shared_ptr<sandbox::Sandbox> sandbox;
  co_await with_cleanup(begin(run, terms, sample, sandbox, errors), end(sandbox, errors));
}

awaitable<void> end(sandbox::Run& run, EvaluationErrors& errors) {
  try {
    co_await run.sweep(true);
  } catch (const Error& error) {
    errors.ends.push_back(error);
  }
}

}  // namespace

awaitable<EvaluationErrors> evaluate(asio::thread_pool& pool, sandbox::Environment environment,
                                     EvaluationTerms terms) {
  sandbox::Run run{co_await asio::this_coro::executor, pool, std::move(environment)};
  EvaluationErrors errors;
  try {
    co_await run.prepare(terms.spec);
  } catch (const Error& error) {
    errors.start = error;
  }
  if (errors.start) co_return errors;
  std::vector<awaitable<void>> samples;
  for (int i = 1; i <= terms.samples; ++i) {
    samples.push_back(live(run, terms, std::to_string(i), errors));
  }
  co_await with_cleanup(all(std::move(samples)), end(run, errors));
  co_return errors;
}

}  // namespace px::testing
