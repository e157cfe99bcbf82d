#include "guest/run_machine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace px::guest {

namespace {

using namespace std::chrono_literals;

constexpr std::string_view known_kinds = "xnpdueszcbfwlg";

/// Takes the next word, up to a blank.
std::string_view take_word(std::string_view& line) {
  const auto blank = line.find(' ');
  const auto word = line.substr(0, blank);
  line = blank == std::string_view::npos ? std::string_view{} : line.substr(blank + 1);
  return word;
}

}  // namespace

bool may_pass(const Error& error) {
  switch (error.kind) {
    case Errc::unreachable:
    case Errc::timeout:
    case Errc::proxy:
    case Errc::busy:
    case Errc::server:
    case Errc::protocol:
    case Errc::agent_down:
      return true;
    default:
      return false;
  }
}

RunAnswer parse_answer(const LaunchEnd& end) {
  const auto newline = end.out.find('\n');
  std::string_view line = std::string_view{end.out}.substr(0, newline);
  const auto bad = [&] {
    return Error{Errc::protocol,
                 fmt::format("our program in the guest ended with {} and said \"{}{}\"", end.status,
                             end.out.substr(0, 200), end.err.substr(0, 200))}
        .with_hint("Commands in a Linux guest need /bin/sh, mkdir, mkfifo, cat, head and setsid.");
  };
  if (newline == std::string::npos) throw bad();
  RunAnswer answer;
  if (line.starts_with('K')) {
    answer.killed = true;
    line.remove_prefix(1);
  }
  const auto kind = take_word(line);
  const auto status = take_word(line);
  const auto [last, error] =
      std::from_chars(status.data(), status.data() + status.size(), answer.status);
  if (kind.size() != 1 || known_kinds.find(kind) == std::string_view::npos ||
      error != std::errc{} || last != status.data() + status.size()) {
    throw bad();
  }
  answer.kind = static_cast<RunKind>(kind.front());
  answer.boot_id = take_word(line);
  answer.detail = line;
  answer.out = end.out.substr(newline + 1);
  answer.err = end.err;
  return answer;
}

void QuickPause::learn(int polls) {
  if (polls == 1) value_ = std::max(value_ * 15 / 16, 20ms);
  if (polls == 2) value_ = std::min(value_ * 5 / 4, 250ms);
}

RunMachine::Step RunMachine::launched() {
  ++launches_;
  running_ = true;
  trouble_since_.reset();
  return {Action::poll, pause_};
}

RunMachine::Step RunMachine::failed(const Error& error, Clock::time_point now) {
  const bool result_lost = running_ && error.kind == Errc::not_found;
  if (!running_) ++launches_;  // it may have begun to run
  if (!result_lost && !may_pass(error)) return give_up(error);
  if (!trouble_since_) {
    trouble_since_ = now;
    trouble_pause_ = 100ms;
  }
  if (now - *trouble_since_ > patience) {
    // Whatever the server says each time: no command of the guest's failed. (And a timeout would be
    // taken for the command's own.)
    Error last = error;
    last.kind = Errc::unavailable;
    return give_up(std::move(last));
  }
  const auto pause = trouble_pause_;
  trouble_pause_ = std::min<Clock::duration>(trouble_pause_ * 2, 1s);
  if (result_lost) running_ = false;
  return {running_ ? Action::poll : Action::launch, pause};
}

RunMachine::Step RunMachine::polled(const std::optional<LaunchEnd>& end) {
  trouble_since_.reset();
  ++polls_;
  if (!end) {
    const auto pause = pause_;
    // Short at first, growing to a second: an hour's command is noticed within one.
    pause_ = std::clamp<Clock::duration>(pause_ * 3 / 2, 5ms, 1s);
    return {Action::poll, pause};
  }
  try {
    answer_ = parse_answer(*end);
  } catch (const Error& error) {
    return give_up(error);
  }
  switch (answer_->kind) {
    case RunKind::waiting:
      running_ = false;
      return {Action::launch, 200ms};
    case RunKind::no_room:
      return give_up(
          Error{Errc::unavailable, "the guest has no room for a command: its /run is full"}
              .with_sent(Sent::answered)
              .with_hint("/run lies in the guest's memory: remove files there, or give the VM more "
                         "ram_mb."));
    case RunKind::lost:
      return give_up(Error{Errc::unavailable,
                           "the guest restarted while the command ran; its result is lost"});
    default:
      return {Action::done};
  }
}

RunMachine::Step RunMachine::give_up(Error error) {
  error_ = std::move(error);
  return {Action::fail};
}

}  // namespace px::guest
