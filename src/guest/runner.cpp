#include "guest/runner.hpp"

#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace px::guest {

using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t mebibyte = 1 << 20;

}  // namespace

awaitable<RunAnswer> Runner::run(Job job, std::optional<std::chrono::milliseconds> timeout) {
  RunAnswer answer;
  bool is_over = false;
  auto body = [](Runner& self, const Job& what, std::optional<std::chrono::milliseconds> within,
                 RunAnswer& out, bool& over) -> awaitable<void> {
    try {
      out = co_await self.run_in_time(what, within);
    } catch (const Error& error) {
      over = error.kind != Errc::cancelled;
      throw;
    }
  };
  co_await with_undo(body(*this, job, timeout, answer, is_over), kill_unless(is_over, job));
  co_return answer;
}

awaitable<RunAnswer> Runner::run_in_time(const Job& job,
                                         std::optional<std::chrono::milliseconds> timeout) {
  bool is_expired = false;
  RunAnswer answer;
  try {
    answer =
        co_await follow(job, Deadline::never(), timeout.value_or(std::chrono::milliseconds::max()));
  } catch (const Error& error) {
    if (error.kind != Errc::timeout || !timeout) throw;
    is_expired = true;
  }
  if (!is_expired) co_return answer;
  answer = co_await kill(job);
  if (!answer.killed && answer.kind != RunKind::gone) co_return answer;
  forget_.push_back(job.id);
  Error error{Errc::timeout, fmt::format("the command did not end within {:.1f} s",
                                         std::chrono::duration<double>(*timeout).count())};
  error.partial_output = answer.out + answer.err;
  throw error;
}

/// A command whose call was cancelled must not go on behind the caller's back.
awaitable<void> Runner::kill_unless(const bool& is_over, const Job& job) {
  if (is_over) co_return;
  try {
    co_await kill(job);
  } catch (const Error& error) {
    log::warn("a cancelled command may go on in the guest: {}", error.what());
  }
  forget_.push_back(job.id);
}

awaitable<RunAnswer> Runner::follow(const Job& job, Deadline limit,
                                    std::chrono::milliseconds timeout) {
  const bool limited = timeout != std::chrono::milliseconds::max();
  const std::vector<std::string> forget = std::exchange(forget_, {});
  RunMachine machine{job.first_pause.value_or(quick_pause_.value())};
  LaunchId launch{};
  auto step = machine.first();
  while (step.action == RunMachine::Action::launch || step.action == RunMachine::Action::poll) {
    // Many commands in one guest share its agent, which serves one call at a time.
    auto pause = step.pause;
    if (step.action == RunMachine::Action::poll) pause += (calls_ - 1) * 5ms;
    const auto now = std::chrono::steady_clock::now();
    if (pause > 0ms) co_await sleep_for(std::min(pause, limit.left(now)));
    if (limited && step.action == RunMachine::Action::poll &&
        limit.passed(std::chrono::steady_clock::now())) {
      throw Error{Errc::timeout, "the command's time is over"}.with_sent(Sent::answered);
    }
    std::optional<Error> failure;
    std::optional<LaunchEnd> end;
    try {
      if (step.action == RunMachine::Action::launch) {
        launch = co_await channel_->launch(
            job.launch(machine.relaunch() ? boot_id_ : std::string{}, forget));
      } else {
        end = co_await channel_->poll(launch);
      }
    } catch (const Error& error) {
      failure = error;
    }
    if (failure) {
      step = machine.failed(*failure, std::chrono::steady_clock::now());
    } else if (step.action == RunMachine::Action::launch) {
      step = machine.launched();
      // The limit is of the run: what came before (a queue, a lost answer) does not count.
      if (limited) limit = Deadline::after(timeout);
    } else {
      step = machine.polled(end);
    }
  }
  if (step.action == RunMachine::Action::fail) throw machine.error();
  if (!job.first_pause) quick_pause_.learn(machine.polls());
  boot_id_ = machine.answer().boot_id;
  co_return machine.answer();
}

awaitable<RunAnswer> Runner::kill(const Job& job) {
  co_return parse_answer(co_await run_to_end(job.kill));
}

awaitable<LaunchEnd> Runner::run_to_end(Launch launch) {
  const auto limit = Deadline::after(30s);
  for (auto pause = 20ms;; pause = std::min(pause * 2, 500ms)) {
    std::exception_ptr failure;
    try {
      const LaunchId id = co_await channel_->launch(launch);
      for (auto wait = 20ms;; wait = std::min(wait * 2, 500ms)) {
        co_await sleep_for(wait);
        if (auto end = co_await channel_->poll(id)) co_return std::move(*end);
        if (limit.passed(std::chrono::steady_clock::now())) {
          throw Error{Errc::agent_down, "our program in the guest did not end within 30 s"};
        }
      }
    } catch (const Error& error) {
      if (error.kind == Errc::unavailable || limit.passed(std::chrono::steady_clock::now())) throw;
    }
    co_await sleep_for(pause);
  }
}

awaitable<void> Runner::write_file(std::string path, std::string bytes) {
  const auto limit = Deadline::after(30s);
  for (auto pause = 100ms;; pause = std::min(pause * 2, 2000ms)) {
    try {
      co_await channel_->write_file(path, bytes);
      co_return;
    } catch (const Error& error) {
      if (!may_pass(error) || limit.passed(std::chrono::steady_clock::now())) throw;
    }
    co_await sleep_for(pause);
  }
}

/// Two pieces at a time: a third would take the last of the server's workers (pve-practice
/// section 2).
awaitable<std::string> Runner::rest_of(std::string file, std::uint64_t from, std::uint64_t limit) {
  std::string out;
  bool at_end = false;
  std::size_t side_by_side = 1;  // a file of one piece costs one request
  while (!at_end && out.size() < limit) {
    std::vector<FilePart> parts(side_by_side);
    std::vector<awaitable<void>> reads;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      auto read = [](Channel& channel, std::string path, std::uint64_t offset,
                     FilePart& part) -> awaitable<void> {
        part = co_await channel.read_file(std::move(path), offset, mebibyte);
      };
      reads.push_back(read(*channel_, file, from + out.size() + i * mebibyte, parts[i]));
    }
    co_await all(std::move(reads));
    for (auto& part : parts) {
      if (at_end) break;
      out += part.bytes;
      at_end = part.at_end || part.bytes.size() < mebibyte;
    }
    side_by_side = 2;
  }
  co_return out;
}

}  // namespace px::guest
