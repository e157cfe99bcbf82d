#include "sandbox/marks.hpp"

#include "support/bytes.hpp"
#include "support/error.hpp"

#include <boost/asio/ip/host_name.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <iomanip>
#include <pwd.h>
#include <sstream>
#include <unistd.h>

namespace px::sandbox {

namespace {

constexpr std::string_view run_tag_prefix = "inspect-run-";
constexpr std::size_t run_length = 8;

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_run(std::string_view text) {
  return text.size() == run_length && is_hex(text);
}

/// The rest of the line that begins with `key`, or empty.
std::string line_of(std::string_view text, std::string_view key) {
  std::size_t at = 0;
  while (at <= text.size()) {
    const auto end = std::min(text.find('\n', at), text.size());
    const auto line = text.substr(at, end - at);
    if (line.starts_with(key)) return std::string{line.substr(key.size())};
    at = end + 1;
  }
  return {};
}

/// One line, so that no name can forge another field of the mark.
std::string one_line(std::string_view text) {
  std::string out{text.substr(0, 200)};
  std::replace_if(out.begin(), out.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return out;
}

std::string user_name() {
  const auto* entry = ::getpwuid(::getuid());
  return entry == nullptr ? std::to_string(::getuid()) : entry->pw_name;
}

std::string host_name() {
  boost::system::error_code error;
  const auto name = boost::asio::ip::host_name(error);
  return error ? "localhost" : name;
}

}  // namespace

std::string Mark::this_process() {
  static const std::string who = fmt::format("{}@{}", user_name(), host_name());
  return fmt::format("{}, process {}", who, ::getpid());
}

std::chrono::sys_seconds Mark::now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

std::string time_text(std::chrono::sys_seconds time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", time);
}

std::optional<std::chrono::sys_seconds> parse_time(const std::string& text) {
  std::tm parts{};
  std::istringstream in{text};
  in >> std::get_time(&parts, "%Y-%m-%dT%H:%M:%SZ");
  if (in.fail()) return std::nullopt;
  return std::chrono::sys_seconds{std::chrono::seconds{::timegm(&parts)}};
}

RunId RunId::make() {
  return {random_hex(run_length)};
}

RunId RunId::parse(std::string_view text) {
  if (!is_run(text)) throw_bad_input("run", text, "a run is 8 characters 0-9 a-f");
  return {std::string{text}};
}

std::string RunId::tag() const {
  return std::string{run_tag_prefix} + text;
}

std::string describe_mark(const Mark& mark) {
  return fmt::format(
      "Made by Proxmox Sandbox for an Inspect evaluation; it is deleted when its sample ends.\n\n"
      "inspect-run: {}\ninspect-vm: {}\ntask: {}\nsample: {}\nowner: {}\nsince: {}\n",
      mark.run, mark.object, one_line(mark.task), one_line(mark.sample), one_line(mark.owner),
      mark.since ? time_text(*mark.since) : "");
}

std::optional<Mark> find_mark(std::string_view description) {
  Mark mark{line_of(description, "inspect-run: "), line_of(description, "inspect-vm: "),
            line_of(description, "task: "),        line_of(description, "sample: "),
            line_of(description, "owner: "),       parse_time(line_of(description, "since: "))};
  if (!is_run(mark.run)) return std::nullopt;
  return mark;
}

std::optional<std::string> run_of_tags(const std::vector<std::string>& tags) {
  for (const auto& tag : tags) {
    if (tag.starts_with(run_tag_prefix) &&
        is_run(std::string_view{tag}.substr(run_tag_prefix.size()))) {
      return tag.substr(run_tag_prefix.size());
    }
  }
  return std::nullopt;
}

std::string medium_name(const RunId& run, std::string_view nonce) {
  return fmt::format("inspect-{}-{}.iso", run.text, nonce);
}

std::optional<std::string> run_of_medium(std::string_view file_name) {
  constexpr std::string_view prefix = "inspect-";
  constexpr std::string_view suffix = ".iso";
  constexpr std::size_t nonce_length = 16;
  if (file_name.size() != prefix.size() + run_length + 1 + nonce_length + suffix.size() ||
      !file_name.starts_with(prefix) || !file_name.ends_with(suffix)) {
    return std::nullopt;
  }
  const auto run = file_name.substr(prefix.size(), run_length);
  if (!is_run(run)) return std::nullopt;
  return std::string{run};
}

}  // namespace px::sandbox
