#include "guest/guest.hpp"

#include "guest/gunzip.hpp"
#include "guest/linux/scripts.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>

namespace px::guest {

using namespace std::chrono_literals;
using linux_guest::answer_cap;
using linux_guest::RunAnswer;
using linux_guest::RunKind;
using linux_guest::RunMachine;
using linux_guest::RunRequest;

namespace {

constexpr std::uint64_t mebibyte = 1 << 20;

/// Beyond this a staged file lies on the guest's disk, not in its memory.
constexpr std::size_t most_in_memory = 8 * mebibyte;

/// What one launch carries when a file goes in pieces: the program needs some of the 64 KiB.
constexpr std::size_t piece_size = 60 * 1024;

/// Where the pieces of a command that fits into no launch lie until it starts.
std::string staging_directory(std::size_t size, std::string_view id) {
  if (size > most_in_memory) return fmt::format("/var/tmp/.proxmox-sandbox-in-{}", id);
  return fmt::format("{}/in-{}", linux_guest::record_directory, id);
}

RunRequest new_run(std::string program) {
  RunRequest request;
  request.id = random_hex(16);
  request.program = std::move(program);
  request.standard_input = "none";
  return request;
}

/// The error behind a shell's or utility's message about a file (dash, bash, busybox, coreutils).
Error file_error(std::string_view message, const std::string& path) {
  const auto lower = boost::algorithm::to_lower_copy(std::string{message});
  const auto says = [&](std::string_view text) { return lower.find(text) != std::string::npos; };
  const auto error = [&](Errc kind, std::string_view text) {
    return Error{kind, fmt::format("{}: {}", text, path)};
  };
  if (says("is a directory")) return error(Errc::is_directory, "Is a directory");
  if (says("permission denied") || says("not permitted") || says("read-only")) {
    return error(Errc::file_permission, "Permission denied");
  }
  // dash says "nonexistent" where others quote ENOENT.
  if (says("no such file") || says("nonexistent") || says("not a directory") ||
      says("name too long") || says("file exists")) {
    return error(Errc::file_not_found, "No such file or directory");
  }
  return Error{Errc::file_permission, fmt::format("{} ({})", path, message)};
}

/// User names travel as an argument, so they are plain ASCII; no system makes others.
bool is_user_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == '@' || c == '$' || c == '\\';
  });
}

}  // namespace

/// Counts the calls that are under way.
class Guest::Meter {
 public:
  explicit Meter(Guest& guest) : guest_{guest} { ++guest_.running_; }
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;
  ~Meter() { --guest_.running_; }

 private:
  Guest& guest_;
};

Guest::Guest(std::shared_ptr<Channel> channel, asio::thread_pool& pool, std::string user)
    : channel_{std::move(channel)}, pool_{pool}, user_{std::move(user)} {}

// --- commands ------------------------------------------------------------------------------------

awaitable<ExecResult> Guest::exec(ExecRequest request) {
  const Meter meter{*this};
  RunRequest run_request = new_run(linux_guest::command_program(request.command));
  run_request.user = request.user.empty() ? user_ : request.user;
  run_request.home_user = user_;
  run_request.keep = request.output_limit;
  if (!is_user_name(run_request.user)) {
    co_return ExecResult{126, "", fmt::format("no user \"{}\" in the guest\n", run_request.user)};
  }
  if (request.input) {
    run_request.standard_input = "rest";
    run_request.rest = std::move(*request.input);
  }
  if (!linux_guest::fits_inline(run_request)) {
    const auto directory =
        staging_directory(run_request.program.size() + run_request.rest.size(), run_request.id);
    co_await stage(directory + "/s", std::move(run_request.program));
    if (request.input) co_await stage(directory + "/p.0000", std::move(run_request.rest));
    run_request.program.clear();
    run_request.rest.clear();
    run_request.standard_input = "dir:" + directory;
  }
  const std::string id = run_request.id;
  const std::string user = run_request.user;
  RunAnswer answer = co_await run(std::move(run_request), request.timeout);
  co_await complete_output(id, answer, request.output_limit);
  forget_.push_back(id);
  const auto& program = request.command.argv.front();
  switch (answer.kind) {
    case RunKind::not_executable:
      throw Error{Errc::file_permission, fmt::format("Permission denied: {}", program)};
    case RunKind::no_program:
      answer.err += fmt::format("{}: not found\n", program);
      break;
    case RunKind::no_user:
      answer.err = fmt::format("no user \"{}\" in the guest\n", user);
      break;
    default:
      break;
  }
  co_return ExecResult{answer.status, std::move(answer.out), std::move(answer.err)};
}

awaitable<RunAnswer> Guest::run(RunRequest request,
                                std::optional<std::chrono::milliseconds> timeout) {
  const std::string id = request.id;
  std::exception_ptr interrupted;
  bool expired = false;
  RunAnswer answer;
  try {
    answer = co_await follow(std::move(request), Deadline::never(),
                             timeout.value_or(std::chrono::milliseconds::max()));
  } catch (const Error& error) {
    if (error.kind == Errc::cancelled) {
      interrupted = std::current_exception();
    } else if (error.kind == Errc::timeout && timeout) {
      expired = true;
    } else {
      throw;
    }
  } catch (const boost::system::system_error&) {
    interrupted = std::current_exception();
  }
  if (interrupted) {
    // Cancelled: the command must not go on behind the caller's back.
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    try {
      co_await kill(id);
    } catch (const Error& error) {
      log::warn("a cancelled command may go on in the guest: {}", error.what());
    }
    forget_.push_back(id);
    std::rethrow_exception(interrupted);
  }
  if (expired) {
    answer = co_await kill(id);
    if (answer.killed || answer.kind == RunKind::gone) {
      forget_.push_back(id);
      Error error{Errc::timeout, fmt::format("the command did not end within {:.1f} s",
                                             std::chrono::duration<double>(*timeout).count())};
      error.partial_output = answer.out + answer.err;
      throw error;
    }
  }
  co_return answer;
}

awaitable<RunAnswer> Guest::follow(RunRequest request, Deadline limit,
                                   std::chrono::milliseconds timeout) {
  const bool limited = timeout != std::chrono::milliseconds::max();
  const std::vector<std::string> forget = std::exchange(forget_, {});
  RunMachine machine{request.first_pause.value_or(quick_pause_.value())};
  LaunchId launch{};
  auto step = machine.first();
  while (step.action == RunMachine::Action::launch || step.action == RunMachine::Action::poll) {
    // Many commands in one guest share its agent, which serves one call at a time.
    auto pause = step.pause;
    if (step.action == RunMachine::Action::poll) pause += (running_ - 1) * 5ms;
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
        launch = co_await channel_->launch(linux_guest::run_launch(
            request, machine.relaunch() ? boot_id_ : std::string{}, forget));
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
  if (!request.first_pause) quick_pause_.learn(machine.polls());
  boot_id_ = machine.answer().boot_id;
  co_return machine.answer();
}

awaitable<RunAnswer> Guest::kill(std::string id) {
  co_return linux_guest::parse_answer(co_await run_script_to_end(linux_guest::kill_launch(id)));
}

/// A script of ours that may run twice: repeated until its end was told, within 30 s.
awaitable<LaunchEnd> Guest::run_script_to_end(Launch launch) {
  const auto limit = Deadline::after(30s);
  for (auto pause = 20ms;; pause = std::min(pause * 2, 500ms)) {
    std::exception_ptr failure;
    try {
      const LaunchId id = co_await channel_->launch(launch);
      for (auto wait = 20ms;; wait = std::min(wait * 2, 500ms)) {
        co_await sleep_for(wait);
        if (auto end = co_await channel_->poll(id)) co_return std::move(*end);
        if (limit.passed(std::chrono::steady_clock::now())) {
          throw Error{Errc::agent_down, "a script in the guest did not end within 30 s"};
        }
      }
    } catch (const Error& error) {
      if (error.kind == Errc::unavailable || limit.passed(std::chrono::steady_clock::now())) throw;
    }
    co_await sleep_for(pause);
  }
}

// --- output that is too long for an answer -------------------------------------------------------

awaitable<void> Guest::complete_output(const std::string& id, RunAnswer& answer,
                                       std::uint64_t limit) {
  if (answer.out.size() < answer_cap && answer.err.size() < answer_cap) co_return;
  const std::string directory = fmt::format("{}/{}", linux_guest::record_directory, id);
  const LaunchEnd sizes =
      co_await run_script_to_end({linux_guest::pack_script(),
                                  {std::string{linux_guest::record_directory}, id,
                                   std::to_string(answer_cap), std::to_string(limit)},
                                  {}});
  std::istringstream lines{sizes.out};
  for (auto [file, stream] : {std::pair{"o", &answer.out}, {"e", &answer.err}}) {
    std::uint64_t length = 0;
    std::uint64_t from = 0;
    int packed = 0;
    if (!(lines >> length >> from >> packed)) {
      throw Error{Errc::protocol, "the guest did not say how long the output is"};
    }
    if (length <= stream->size()) continue;
    if (packed == 1) {
      const auto bytes = co_await rest_of(fmt::format("{}/{}.z", directory, file), 0, limit);
      *stream = co_await run_in_pool(pool_, [&] { return gunzip(bytes, limit); });
    } else if (from == 0) {
      *stream += co_await rest_of(directory + "/" + file, stream->size(), limit);
    } else {
      *stream = co_await rest_of(directory + "/" + file, from, limit);
    }
    // A background child may have gone on writing since.
    if (stream->size() > limit) stream->resize(limit);
  }
}

/// Reads a file of ours from `from` to its end, at most `limit` bytes, two pieces at a time: a
/// third would take the last of the server's workers (pve-practice section 2).
awaitable<std::string> Guest::rest_of(std::string file, std::uint64_t from, std::uint64_t limit) {
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

// --- files ---------------------------------------------------------------------------------------

awaitable<std::string> Guest::read_file(std::string path, std::uint64_t limit) {
  const Meter meter{*this};
  RunRequest request = new_run(linux_guest::read_program(path, limit));
  request.user = request.home_user = user_;
  request.keep = std::numeric_limits<std::uint32_t>::max();
  const std::string id = request.id;
  RunAnswer answer = co_await run(std::move(request), std::nullopt);
  switch (answer.kind) {
    case RunKind::file_error:
      throw file_error(answer.detail, path);
    case RunKind::too_large:
      throw Error{Errc::output_limit,
                  fmt::format("{} has {} bytes; the limit is {}", path, answer.detail, limit)};
    case RunKind::no_user:
      throw Error{Errc::guest_user, fmt::format("no user \"{}\" in the guest", user_)};
    case RunKind::exited:
    case RunKind::packed:
      if (answer.status == 0) break;
      [[fallthrough]];
    default:
      throw Error{Errc::file_permission,
                  fmt::format("{}: reading failed with status {}: {}{}", path, answer.status,
                              answer.err, answer.detail)};
  }
  std::string bytes = std::move(answer.out);
  if (bytes.size() >= answer_cap) {
    const auto file = fmt::format("{}/{}/o", linux_guest::record_directory, id);
    bytes += co_await rest_of(file, bytes.size(), limit);
  }
  forget_.push_back(id);
  if (answer.kind == RunKind::packed) {
    co_return co_await run_in_pool(pool_, [&] { return gunzip(bytes, limit); });
  }
  co_return bytes;
}

awaitable<void> Guest::write_file(std::string path, std::string contents) {
  const Meter meter{*this};
  co_await put(std::move(path), std::move(contents), user_, false);
}

awaitable<void> Guest::stage(std::string path, std::string bytes) {
  co_await put(std::move(path), std::move(bytes), "root", true);
}

awaitable<void> Guest::put(std::string path, std::string bytes, std::string user,
                           bool private_parents) {
  RunRequest request = new_run(linux_guest::write_program(path, private_parents));
  request.user = request.home_user = user;
  RunAnswer answer;
  bool written = false;
  if (!bytes.empty()) request.standard_input = "rest";
  request.rest = std::move(bytes);
  if (!linux_guest::fits_inline(request) && channel_->has_medium() && medium_works_) {
    bytes = std::move(request.rest);
    request.rest.clear();
    answer = co_await put_by_medium(request, bytes);
    written = answer.kind != RunKind::bad_medium;
    if (!written) {
      log::debug("writing {} by a CD-ROM medium failed; it goes in pieces", path);
      request.id = random_hex(16);
      request.rest = std::move(bytes);
    }
  }
  if (!written && !linux_guest::fits_inline(request)) {
    const auto directory = staging_directory(request.rest.size(), request.id);
    for (std::size_t i = 0; i * piece_size < request.rest.size(); ++i) {
      co_await stage(fmt::format("{}/p.{:04}", directory, i),
                     request.rest.substr(i * piece_size, piece_size));
    }
    request.rest.clear();
    request.standard_input = "dir:" + directory;
  }
  const std::string id = request.id;
  if (!written) answer = co_await run(std::move(request), std::nullopt);
  forget_.push_back(id);
  switch (answer.kind) {
    case RunKind::file_error:
      throw file_error(answer.detail, path);
    case RunKind::no_user:
      throw Error{Errc::guest_user, fmt::format("no user \"{}\" in the guest", user)};
    default:
      break;
  }
  if (answer.kind != RunKind::exited || answer.status != 0) {
    throw Error{Errc::file_permission, fmt::format("{}: writing failed with status {}: {}{}", path,
                                                   answer.status, answer.err, answer.detail)};
  }
}

/// bad_medium in the answer: the caller takes another way.
awaitable<RunAnswer> Guest::put_by_medium(RunRequest request, std::string bytes) {
  const auto hash = co_await run_in_pool(pool_, [&] { return sha256_hex(bytes); });
  const auto size = static_cast<double>(bytes.size());
  Medium medium{random_hex(16), std::move(bytes)};
  request.standard_input =
      fmt::format("medium:{}:{}:{}", medium.nonce, static_cast<std::uint64_t>(size), hash);
  request.first_pause = std::chrono::milliseconds{
      static_cast<std::int64_t>(20 + 1000 * size / medium_bytes_per_second_)};
  RunAnswer answer;
  answer.kind = RunKind::bad_medium;
  bool inserted = false;
  auto use = [](Guest& guest, RunRequest what, RunAnswer& out, bool& begun,
                double count) -> awaitable<void> {
    begun = true;
    const auto started = std::chrono::steady_clock::now();
    out = co_await guest.run(std::move(what), std::nullopt);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    // A little faster than seen, so that a guest that speeds up is noticed.
    if (count > 4e6) guest.medium_bytes_per_second_ = 1.1 * count / took.count();
  };
  try {
    co_await channel_->with_medium(std::move(medium),
                                   use(*this, std::move(request), answer, inserted, size));
  } catch (const Error& error) {
    if (inserted) throw;
    log::debug("no CD-ROM medium: {}", error.what());
    medium_works_ = error.kind != Errc::forbidden && error.kind != Errc::unsupported;
  }
  co_return answer;
}

}  // namespace px::guest
