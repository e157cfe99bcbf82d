// The failure sweep of a whole sample: its n-th request goes wrong, for every n.
#include "run.hpp"
#include "sandbox/run.hpp"
#include "support/bytes.hpp"
#include "sweep/ends.hpp"
#include "sweep/lane.hpp"

#include <gtest/gtest.h>

namespace px::testing {
namespace {

/// What became of a sample, and which of its steps came to their end.
struct Sample : Ends {
  bool ran_first = false;
  bool ran_second = false;
  bool wrote_small = false;
  bool wrote_large = false;
};

const std::string small_file = "small\n";

/// More than a launch carries, so that it travels as a medium; of bytes that shrink by nothing.
const std::string& large_file() {
  static const std::string bytes = random_bytes(100'000);
  return bytes;
}

/// Appends `word` to /swept/ran and answers on both streams.
awaitable<bool> exec(sandbox::Vm& vm, std::string word, Sample& sample) {
  guest::ExecRequest request;
  request.command.argv = {"sh", "-c", "cat >>/swept/ran; echo out; echo err >&2; exit 3"};
  request.input = word + "\n";
  const auto result = co_await vm.exec(std::move(request));
  if (result.status != 3 || result.out != "out\n" || result.err != "err\n") {
    sample.mistakes.push_back(
        fmt::format("exec: status {}, \"{}\", \"{}\"", result.status, result.out, result.err));
  }
  co_return true;
}

awaitable<void> use(sandbox::Sandbox& sandbox, Sample& sample) {
  auto& first = *sandbox.vms().at(0);
  auto& second = *sandbox.vms().at(1);
  sample.ran_first = co_await exec(first, "first", sample);
  sample.ran_second = co_await exec(second, "second", sample);
  co_await first.write_file("/swept/new/small", small_file);
  sample.wrote_small = true;
  co_await second.write_file("/swept/large", large_file());
  sample.wrote_large = true;
  co_await first.create_snapshot("swept", "");
  const auto snapshots = co_await first.list_snapshots();
  if (snapshots.find("\"name\":\"swept\"") == std::string::npos) {
    sample.mistakes.push_back("after the snapshot there are " + snapshots);
  }
}

/// As Inspect does it: the end comes whatever became of the rest.
awaitable<void> live(sandbox::Run& run, Sample& sample) {
  std::shared_ptr<sandbox::Sandbox> sandbox;
  try {
    sandbox = co_await run.bring_up(two_vms, "sweep", "1");
    co_await use(*sandbox, sample);
  } catch (const Error& error) {
    sample.failure = error;
  }
  try {
    if (sandbox) co_await sandbox->destroy();
  } catch (const Error& error) {
    sample.failure_of_end = error;
  }
}

awaitable<void> run_sample(Lane& lane, Sample& sample) {
  sandbox::Run run{co_await asio::this_coro::executor, lane.pool(), lane.environment()};
  co_await live(run, sample);
}

int count(std::string_view text, std::string_view word) {
  int found = 0;
  for (auto at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    ++found;
  }
  return found;
}

/// No command runs twice, and what was said to have happened did.
void check_guests(const HostGuest& guest, Sample& sample) {
  std::string ran;
  for (const auto& [vm, text] : guest.contents("ran")) ran += text;
  for (const auto& [word, done] :
       {std::pair{"first\n", sample.ran_first}, {"second\n", sample.ran_second}}) {
    const int times = count(ran, word);
    if (times > 1 || (done && times == 0)) {
      sample.mistakes.push_back(fmt::format("the command ran {} times: {}", times, word));
    }
  }
  const auto check_file = [&](const std::string& name, const std::string& wanted) {
    const auto files = guest.contents(name);
    if (files.size() != 1 || files.begin()->second != wanted) {
      sample.mistakes.push_back(fmt::format("{} is not as it was written", name));
    }
  };
  if (sample.wrote_small) check_file("new/small", small_file);
  if (sample.wrote_large) check_file("large", large_file());
}

Round one_round(Lane& lane, int n, const Kind& kind) {
  Sample sample;
  lane.arm(n, kind.fault);
  run(run_sample(lane, sample));
  Round round;
  round.requests = lane.disarm();
  check_guests(lane.guest(), sample);
  finish(lane, n, kind, sample, round);
  return round;
}

class SampleSweep : public ::testing::TestWithParam<Kind> {};

TEST_P(SampleSweep, endsWellOrWithOneClearErrorAndLeavesNothing) {
  const auto rounds = sweep(GetParam().by_password,
                            [](Lane& lane, int n) { return one_round(lane, n, GetParam()); });
  EXPECT_GE(report(rounds), 38) << "so many requests has such a sample at least";
}

INSTANTIATE_TEST_SUITE_P(Requests, SampleSweep, all_kinds(), name_of_kind);

}  // namespace
}  // namespace px::testing
