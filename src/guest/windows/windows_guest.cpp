#include "guest/windows/windows_guest.hpp"

#include "guest/windows/command_line.hpp"
#include "guest/windows/helper.hpp"
#include "support/bytes.hpp"

#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace px::guest {

namespace {

using windows_guest::helper_path;
using windows_guest::helper_program;
using windows_guest::record_directory;

void add_field(std::string& bytes, std::string_view field) {
  bytes += field;
  bytes += '\0';
}

/// Windows' variables have names like ProgramFiles(x86).
void check_variable(const std::string& name, const std::string& value) {
  if (name.empty() || name.find_first_of(std::string_view{"=\0", 2}) != std::string::npos) {
    throw_bad_input("env", printable(name), "a name has one character at least, and no =");
  }
  refuse_nul("env." + name, value);
}

std::string batch_field(const std::vector<std::string>& argv) {
  try {
    return windows_guest::batch_arguments(argv);
  } catch (const Error& error) {
    return "!" + error.said;
  }
}

std::string run_fields(const Command& command) {
  std::string bytes;
  add_field(bytes, command.cwd);
  add_field(bytes, command.argv.front());
  add_field(bytes, windows_guest::command_line(command.argv));
  add_field(bytes, batch_field(command.argv));
  add_field(bytes, std::to_string(command.env.size()));
  for (const auto& [name, value] : command.env) add_field(bytes, fmt::format("{}={}", name, value));
  return bytes;
}

/// Takes the number that `text` begins with, and the blank behind it.
std::uint64_t take_number(std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end == text.data() + text.size() || *end != ' ') {
    throw Error{Errc::protocol,
                fmt::format("our program in the guest said \"{}\" for a length", printable(text))};
  }
  text.erase(0, static_cast<std::size_t>(end - text.data()) + 1);
  return number;
}

/// The error behind Windows' number (Microsoft, "System Error Codes").
Error file_error(const std::string& number, const std::string& path) {
  constexpr std::array<std::string_view, 10> missing{
      "2",   "3",   "15",  "21", "53", "67",  // file, path, drive, medium, server, share
      "123", "161", "206", "267"};            // no name for a file, too long, no directory
  if (number == "336") return {Errc::is_directory, fmt::format("Is a directory: {}", path)};
  if (std::ranges::find(missing, number) != missing.end()) {
    return {Errc::file_not_found, fmt::format("No such file or directory: {}", path)};
  }
  if (number == "5") return {Errc::file_permission, fmt::format("Permission denied: {}", path)};
  return {Errc::file_permission, fmt::format("{} (Windows error {})", path, number)};
}

Error lost(std::string_view what) {
  return {Errc::protocol, fmt::format("the guest lost what it was to do ({})", what)};
}

/// Throws what the answer says of a file.
void check_file(const RunAnswer& answer, const std::string& path) {
  if (answer.kind == RunKind::exited) return;
  throw answer.kind == RunKind::file_error ? file_error(answer.detail, path) : lost(path);
}

}  // namespace

WindowsGuest::WindowsGuest(std::shared_ptr<Channel> channel)
    : channel_{channel}, runner_{std::move(channel)} {}

// --- the helper ----------------------------------------------------------------------------------

awaitable<void> WindowsGuest::install() {
  const auto permit = co_await one_install_.acquire();
  if (installed_) co_return;
  if (helper_program().empty()) {
    throw Error{Errc::unsupported, "this build has no helper for Windows guests"}.with_hint(
        "Install gcc-mingw-w64-x86-64-win32 and build again.");
  }
  co_await write_helper();
  // A call that does nothing: it makes the directory of the records, and shows whether it runs.
  const auto id = random_hex(16);
  std::optional<Error> failure;
  try {
    parse_answer(co_await runner_.run_to_end(
        {{helper_path(), "kill", id, std::to_string(answer_cap), "0", "0", "-"}, ""}));
  } catch (const Error& error) {
    failure = error;
  }
  if (failure) {
    failure->doing = fmt::format("start {} in the guest", helper_path());
    failure->hint = "It needs 64-bit Windows 7 or later; a virus scanner may have removed it.";
    throw *failure;
  }
  runner_.forget(id);
  installed_ = true;
}

/// A program that runs can't be written, so it is looked at first.
awaitable<void> WindowsGuest::write_helper() {
  try {
    const auto there = co_await channel_->read_file(helper_path(), 0, Channel::max_content);
    if (there.bytes == helper_program()) co_return;
  } catch (const Error& error) {
    // Windows names errors in its own language: any answer of the guest may mean "not there".
    if (error.sent != Sent::answered) throw;
  }
  co_await runner_.write_file(helper_path(), std::string{helper_program()});
}

awaitable<std::size_t> WindowsGuest::stage(std::string id, const std::string& bytes) {
  std::size_t pieces = 0;
  for (std::size_t at = 0; at < bytes.size(); at += Channel::max_content) {
    co_await runner_.write_file(fmt::format("{}\\in-{}.{:04}", record_directory, id, pieces++),
                                bytes.substr(at, Channel::max_content));
  }
  co_return pieces;
}

awaitable<WindowsGuest::Done> WindowsGuest::run(Request request,
                                                std::optional<std::chrono::milliseconds> timeout) {
  co_await install();
  Done done;
  done.id = random_hex(16);
  std::size_t pieces = 0;
  if (request.bytes.size() > Channel::max_input) {
    try {
      pieces = co_await stage(done.id, request.bytes);
    } catch (...) {
      runner_.forget(done.id);
      throw;
    }
    request.bytes.clear();
  }
  auto launch = [what = std::move(request), id = done.id, pieces](
                    const std::string& boot_id, const std::vector<std::string>& forget) {
    Launch out{{helper_path(), what.op, id, std::to_string(answer_cap), std::to_string(what.limit),
                std::to_string(pieces), boot_id.empty() ? "-" : boot_id},
               what.bytes};
    out.argv.insert(out.argv.end(), forget.begin(), forget.end());
    return out;
  };
  Launch kill{{helper_path(), "kill", done.id, std::to_string(answer_cap), "0", "0", "-"}, ""};
  done.answer =
      co_await runner_.run({done.id, std::move(launch), std::move(kill), std::nullopt}, timeout);
  done.out_length = take_number(done.answer.detail);
  done.err_length = take_number(done.answer.detail);
  co_return done;
}

/// The last `limit` bytes of a stream, of which the answer holds the head.
awaitable<std::string> WindowsGuest::stream(std::string file, std::string head,
                                            std::uint64_t length, std::uint64_t limit) {
  if (length > head.size()) {
    const auto from = length > limit ? length - limit : head.size();
    auto rest = co_await runner_.rest_of(std::move(file), from, length - from);
    head = length > limit ? std::move(rest) : head + rest;
  }
  if (head.size() > limit) head.erase(0, head.size() - limit);
  co_return head;
}

// --- commands and files --------------------------------------------------------------------------

awaitable<ExecResult> WindowsGuest::exec(ExecRequest request) {
  const Runner::Call call{runner_};
  check_argv(request.command.argv);
  refuse_nul("cwd", request.command.cwd);
  for (const auto& [name, value] : request.command.env) check_variable(name, value);
  if (!request.user.empty() && !boost::algorithm::iequals(request.user, "SYSTEM")) {
    throw Error{Errc::guest_user, fmt::format("a Windows guest runs commands as SYSTEM, not as {}",
                                              printable(request.user))};
  }
  Request what{"run", "", 0};
  try {
    what.bytes = run_fields(request.command);
  } catch (const Error& error) {
    if (error.kind != Errc::unsupported) throw;
    co_return ExecResult{126, "", error.said + "\n"};
  }
  if (request.input) what.bytes += *request.input;
  Done done = co_await run(std::move(what), request.timeout);
  const auto directory = fmt::format("{}\\{}\\", record_directory, done.id);
  RunAnswer& answer = done.answer;
  answer.out = co_await stream(directory + "o", std::move(answer.out), done.out_length,
                               request.output_limit);
  answer.err = co_await stream(directory + "e", std::move(answer.err), done.err_length,
                               request.output_limit);
  runner_.forget(done.id);
  const auto& program = request.command.argv.front();
  switch (answer.kind) {
    case RunKind::exited:
      break;
    case RunKind::no_program:
      answer.err = fmt::format("{}: not found\n", program);
      break;
    case RunKind::no_directory:
      answer.err = fmt::format("can't change to the directory {}\n", request.command.cwd);
      break;
    case RunKind::unfit:
      answer.err = answer.detail + "\n";
      break;
    case RunKind::not_executable:
      throw Error{Errc::file_permission, fmt::format("Permission denied: {}", program)};
    default:
      throw lost(program);
  }
  co_return ExecResult{answer.status, std::move(answer.out), std::move(answer.err)};
}

awaitable<std::string> WindowsGuest::read_file(std::string path, std::uint64_t limit) {
  const Runner::Call call{runner_};
  refuse_nul("path", path);
  Request what{"read", "", limit};
  add_field(what.bytes, path);
  Done done = co_await run(std::move(what), std::nullopt);
  if (done.answer.kind == RunKind::too_large) {
    throw Error{Errc::output_limit,
                fmt::format("{} has {} bytes; the limit is {}", path, done.answer.detail, limit)};
  }
  check_file(done.answer, path);
  auto bytes = co_await stream(fmt::format("{}\\{}\\o", record_directory, done.id),
                               std::move(done.answer.out), done.out_length, done.out_length);
  runner_.forget(done.id);
  co_return bytes;
}

awaitable<void> WindowsGuest::write_file(std::string path, std::string contents) {
  const Runner::Call call{runner_};
  refuse_nul("path", path);
  Request what{"write", "", 0};
  add_field(what.bytes, path);
  what.bytes += contents;
  const Done done = co_await run(std::move(what), std::nullopt);
  runner_.forget(done.id);
  check_file(done.answer, path);
}

}  // namespace px::guest
