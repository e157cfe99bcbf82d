#include "sweep/rounds.hpp"

#include "node_under_test.hpp"
#include "support/log.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <iostream>
#include <mutex>
#include <unistd.h>

namespace px::testing {

namespace {

constexpr int lanes_at_once = is_sanitized ? 4 : 10;
constexpr int most_rounds = 600;  // a sweep that never comes to its end is a mistake of ours

/// The log of the core that works on this thread.
thread_local std::vector<std::string> log_lines;

void keep_log_lines() {
  log::set_level(log::Level::debug);
  log::set_sink([](log::Level level, std::string_view line) {
    const bool must_act = level == log::Level::warn || level == log::Level::error;
    log_lines.push_back((must_act ? "WARNING " : "") + std::string{line});
  });
}

/// A disk's file system takes longer to make and delete the small files of thousands of scripts
/// than the scripts take to run; and a guest's /run is in memory, too.
void live_in_memory() {
  const char* memory = "/dev/shm";
  if (::access(memory, W_OK) == 0) ::setenv("TMPDIR", memory, 1);
}

}  // namespace

const std::vector<std::string>& round_log() {
  return log_lines;
}

std::vector<Round> sweep(const std::function<OneRound()>& make_lane) {
  live_in_memory();
  const TemporaryDirectory images;
  offer_built_in(images.path());
  keep_log_lines();
  std::atomic<int> rounds_begun{0};
  std::atomic<bool> through{false};
  std::mutex mutex;
  std::vector<Round> rounds;
  const auto run_lane = [&] {
    const auto one_round = make_lane();
    while (!through) {
      const int n = 1 + one_in * rounds_begun++;
      log_lines.clear();
      auto done = one_round(n);
      done.n = n;
      done.log = log_lines;
      if (n > most_rounds) done.mistakes.emplace_back("the sweep comes to no end");
      if (done.requests < n || n > most_rounds) through = true;
      const std::lock_guard lock{mutex};
      rounds.push_back(std::move(done));
    }
  };
  std::vector<std::future<void>> lanes;
  for (int i = 0; i < lanes_at_once; ++i) {
    lanes.push_back(std::async(std::launch::async, run_lane));
  }
  for (auto& lane : lanes) lane.get();
  log::set_sink({});
  std::ranges::sort(rounds, {}, &Round::n);
  return rounds;
}

int report(const std::vector<Round>& rounds) {
  int failed = 0;
  int survived = 0;
  for (const auto& round : rounds) {
    if (round.n <= round.requests) {
      ++failed;
      if (round.end.empty()) ++survived;
    }
    if (!round.end.empty()) std::cout << "  n = " << round.n << ": " << round.end << "\n";
    if (round.mistakes.empty()) continue;
    ADD_FAILURE() << "n = " << round.n << " of " << round.requests << " requests:\n  "
                  << fmt::format("{}", fmt::join(round.mistakes, "\n  ")) << "\nits log:\n  "
                  << fmt::format("{}", fmt::join(round.log, "\n  "));
  }
  std::cout << "  " << failed << " requests went wrong, each once; " << survived
            << " times nobody noticed\n";
  return failed * one_in;
}

}  // namespace px::testing
