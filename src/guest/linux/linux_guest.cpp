#include "guest/linux/linux_guest.hpp"

#include "guest/gunzip.hpp"
#include "guest/linux/program.hpp"
#include "guest/linux/scripts.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace px::guest {

using namespace std::chrono_literals;
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

LinuxGuest::LinuxGuest(std::shared_ptr<Channel> channel, asio::thread_pool& pool, std::string user)
    : channel_{channel}, runner_{std::move(channel)}, pool_{pool}, user_{std::move(user)} {}

Runner::Job LinuxGuest::job(RunRequest request) {
  const std::string id = request.id;
  auto launch = [what = std::move(request)](const std::string& boot_id,
                                            const std::vector<std::string>& forget) {
    return linux_guest::run_launch(what, boot_id, forget);
  };
  return {id, std::move(launch), linux_guest::kill_launch(id), std::nullopt};
}

// --- commands ------------------------------------------------------------------------------------

awaitable<ExecResult> LinuxGuest::exec(ExecRequest request) {
  const Runner::Call call{runner_};
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
  RunAnswer answer = co_await runner_.run(job(std::move(run_request)), request.timeout);
  co_await complete_output(id, answer, request.output_limit);
  runner_.forget(id);
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

// --- output that is too long for an answer -------------------------------------------------------

awaitable<void> LinuxGuest::complete_output(const std::string& id, RunAnswer& answer,
                                            std::uint64_t limit) {
  if (answer.out.size() < answer_cap && answer.err.size() < answer_cap) co_return;
  const std::string directory = fmt::format("{}/{}", linux_guest::record_directory, id);
  const LaunchEnd sizes = co_await runner_.run_to_end(linux_guest::pack_launch(id, limit));
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
      const auto bytes =
          co_await runner_.rest_of(fmt::format("{}/{}.z", directory, file), 0, limit);
      *stream = co_await run_in_pool(pool_, [&] { return gunzip(bytes, limit); });
    } else if (from == 0) {
      *stream += co_await runner_.rest_of(directory + "/" + file, stream->size(), limit);
    } else {
      *stream = co_await runner_.rest_of(directory + "/" + file, from, limit);
    }
    // A background child may have gone on writing since.
    if (stream->size() > limit) stream->resize(limit);
  }
}

// --- files ---------------------------------------------------------------------------------------

awaitable<std::string> LinuxGuest::read_file(std::string path, std::uint64_t limit) {
  const Runner::Call call{runner_};
  RunRequest request = new_run(linux_guest::read_program(path, limit));
  request.user = request.home_user = user_;
  request.keep = std::numeric_limits<std::uint32_t>::max();
  const std::string id = request.id;
  RunAnswer answer = co_await runner_.run(job(std::move(request)), std::nullopt);
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
    bytes += co_await runner_.rest_of(file, bytes.size(), limit);
  }
  runner_.forget(id);
  if (answer.kind == RunKind::packed) {
    co_return co_await run_in_pool(pool_, [&] { return gunzip(bytes, limit); });
  }
  co_return bytes;
}

awaitable<void> LinuxGuest::write_file(std::string path, std::string contents) {
  const Runner::Call call{runner_};
  co_await put(std::move(path), std::move(contents), user_, false);
}

/// A file of ours: that it can't be written is no error of the caller's.
awaitable<void> LinuxGuest::stage(std::string path, std::string bytes) {
  try {
    co_await put(std::move(path), std::move(bytes), "root", true);
  } catch (Error& error) {
    if (error.kind != Errc::file_permission && error.kind != Errc::file_not_found) throw;
    error.kind = Errc::unavailable;
    error.doing = "bring a command's input into the guest";
    throw;
  }
}

awaitable<void> LinuxGuest::put(std::string path, std::string bytes, std::string user,
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
  if (!written) answer = co_await runner_.run(job(std::move(request)), std::nullopt);
  runner_.forget(id);
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
awaitable<RunAnswer> LinuxGuest::put_by_medium(RunRequest request, std::string bytes) {
  const auto hash = co_await run_in_pool(pool_, [&] { return sha256_hex(bytes); });
  const auto size = static_cast<double>(bytes.size());
  Medium medium{random_hex(16), std::move(bytes)};
  request.standard_input =
      fmt::format("medium:{}:{}:{}", medium.nonce, static_cast<std::uint64_t>(size), hash);
  Runner::Job write = job(std::move(request));
  write.first_pause = std::chrono::milliseconds{
      static_cast<std::int64_t>(20 + 1000 * size / medium_bytes_per_second_)};
  RunAnswer answer;
  answer.kind = RunKind::bad_medium;
  bool inserted = false;
  auto use = [](LinuxGuest& guest, Runner::Job what, RunAnswer& out, bool& begun,
                double count) -> awaitable<void> {
    begun = true;
    const auto started = std::chrono::steady_clock::now();
    out = co_await guest.runner_.run(std::move(what), std::nullopt);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    // A little faster than seen, so that a guest that speeds up is noticed.
    if (count > 4e6) guest.medium_bytes_per_second_ = 1.1 * count / took.count();
  };
  try {
    co_await channel_->with_medium(std::move(medium),
                                   use(*this, std::move(write), answer, inserted, size));
  } catch (const Error& error) {
    if (inserted) throw;
    log::debug("no CD-ROM medium: {}", error.what());
    medium_works_ = error.kind != Errc::forbidden && error.kind != Errc::unsupported;
  }
  co_return answer;
}

}  // namespace px::guest
