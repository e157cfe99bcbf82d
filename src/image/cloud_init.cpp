#include "image/cloud_init.hpp"

#include "support/bytes.hpp"
#include "support/log.hpp"

#include <boost/algorithm/string/classification.hpp>
#include <boost/algorithm/string/split.hpp>
#include <boost/algorithm/string/trim.hpp>
#include <fmt/format.h>

namespace px::image {

namespace {

using namespace std::chrono_literals;

// How `cloud-init status --wait` ends (its manual page): 0 done, 1 failed, 2 done, but something
// was wrong; before version 23.4 only 0 and 1.
constexpr int cloud_init_recovered = 2;
constexpr int no_such_program = 127;

constexpr auto wait_script = R"sh(
command -v cloud-init >/dev/null || exit 127
cloud-init status --wait >/dev/null 2>&1
code=$?
cat /var/lib/cloud/data/instance-id
exit $code
)sh";

constexpr auto question_limit = 60s;
constexpr std::size_t most_status = 2000;
constexpr auto output_log = "/var/log/cloud-init-output.log";
constexpr auto log_lines = "30";
constexpr std::size_t most_log = 6000;

guest::ExecRequest as_root(std::vector<std::string> argv, std::chrono::milliseconds timeout) {
  guest::ExecRequest request;
  request.command.argv = std::move(argv);
  request.user = "root";
  request.timeout = timeout;
  return request;
}

/// The lines of what a command prints; what it can't do is said in its place.
awaitable<std::vector<std::string>> ask(guest::Guest& guest, std::vector<std::string> argv,
                                        std::size_t limit) {
  std::string said;
  try {
    auto request = as_root(std::move(argv), question_limit);
    request.output_limit = limit;
    const auto result = co_await guest.exec(std::move(request));
    said = result.out.empty() ? result.err : result.out;
  } catch (const Error& error) {
    said = error.said;
  }
  boost::algorithm::trim(said);
  std::vector<std::string> lines;
  boost::split(lines, said, boost::is_any_of("\n"));
  for (auto& line : lines) line = printable(boost::algorithm::trim_right_copy(line));
  std::erase(lines, "");
  co_return lines;
}

awaitable<std::string> status_of(guest::Guest& guest) {
  const auto lines = co_await ask(guest, {"cloud-init", "status", "--long"}, most_status);
  co_return fmt::format("{}", fmt::join(lines, ", "));
}

awaitable<Error> failure_of(guest::Guest& guest, Errc kind, std::string said) {
  said += ": " + co_await status_of(guest);
  for (const auto& line : co_await ask(guest, {"tail", "-n", log_lines, output_log}, most_log)) {
    said += "\n  its log: " + line;
  }
  co_return Error{kind, std::move(said)};
}

}  // namespace

awaitable<void> wait_for_cloud_init(guest::Guest& guest, std::string instance_id,
                                    std::string subject, Deadline limit) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      limit.left(std::chrono::steady_clock::now()));
  std::optional<guest::ExecResult> end;
  try {
    end = co_await guest.exec(as_root({"sh", "-c", wait_script}, left));
  } catch (const Error& error) {
    if (error.kind != Errc::timeout) throw;
  }
  if (!end) {
    throw co_await failure_of(
        guest, Errc::timeout,
        fmt::format("{}: cloud-init did not end within {} s", subject,
                    std::chrono::duration_cast<std::chrono::seconds>(left).count()));
  }
  if (end->status == no_such_program) {
    throw Error{Errc::unsupported, subject + ": the guest has no cloud-init"}.with_hint(
        "Take an image that has it, or leave cloud_init out.");
  }
  if (end->status != 0 && end->status != cloud_init_recovered) {
    throw co_await failure_of(guest, Errc::task_failed, subject + ": cloud-init failed");
  }
  const auto has = boost::algorithm::trim_copy(end->out);
  if (has != instance_id) {
    throw Error{Errc::unsupported,
                fmt::format("{}: the guest's cloud-init did not read it (its instance is \"{}\"; "
                            "{})",
                            subject, printable(has), co_await status_of(guest))}
        .with_hint(
            "Is cloud-init enabled in the guest, and NoCloud in its datasource_list "
            "(/etc/cloud/cloud.cfg.d)?");
  }
  if (end->status == cloud_init_recovered) {
    log::warn("{}: cloud-init went on after an error: {}", subject, co_await status_of(guest));
  }
}

}  // namespace px::image
