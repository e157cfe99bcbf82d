#pragma once
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// How what we create on a server says whose it is, from its first moment on: a VM carries its
/// mark in the clone request's description, and tags from its template and its first
/// configuration. Names that users know: tag `inspect` (docs/configuration.md).
namespace px::sandbox {

/// A run: all that one process creates. 8 characters [0-9a-f].
struct RunId {
  std::string text;
  static RunId make();
  /// Throws Error{bad_input}.
  static RunId parse(std::string_view text);
  /// "inspect-run-1a2b3c4d"
  std::string tag() const;
};

/// The tag of every VM of ours.
inline constexpr std::string_view common_tag = "inspect";

struct Mark {
  std::string run;     ///< RunId::text
  std::string object;  ///< 16 characters [0-9a-f], unique for each VM: "did this clone succeed?"
  std::string task;
  std::string sample;
  std::string owner = this_process();
  std::optional<std::chrono::sys_seconds> since = now();

  /// "alice@desk, process 4711"
  static std::string this_process();
  static std::chrono::sys_seconds now();
};

/// "2026-11-26T04:42:38Z", as marks write a time.
std::string time_text(std::chrono::sys_seconds time);
std::optional<std::chrono::sys_seconds> parse_time(const std::string& text);

/// A VM's description: words for people, then the mark's lines.
std::string describe_mark(const Mark& mark);

/// The mark in a description, if there is one.
std::optional<Mark> find_mark(std::string_view description);

/// The run in a list of tags, if there is one.
std::optional<std::string> run_of_tags(const std::vector<std::string>& tags);

/// Names of media that travel into guests: "inspect-RUN-NONCE.iso".
std::string medium_name(const RunId& run, std::string_view nonce);
/// The run in a medium's name, if it is one of ours.
std::optional<std::string> run_of_medium(std::string_view file_name);

}  // namespace px::sandbox
