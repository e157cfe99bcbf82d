#include "support/error.hpp"

#include <fmt/format.h>

namespace px {

std::string_view name_of(Errc kind) noexcept {
  switch (kind) {
    case Errc::bad_input:
      return "bad_input";
    case Errc::auth:
      return "auth";
    case Errc::forbidden:
      return "forbidden";
    case Errc::rejected:
      return "rejected";
    case Errc::not_found:
      return "not_found";
    case Errc::already_exists:
      return "already_exists";
    case Errc::busy:
      return "busy";
    case Errc::unreachable:
      return "unreachable";
    case Errc::tls:
      return "tls";
    case Errc::timeout:
      return "timeout";
    case Errc::proxy:
      return "proxy";
    case Errc::server:
      return "server";
    case Errc::protocol:
      return "protocol";
    case Errc::task_failed:
      return "task_failed";
    case Errc::agent_down:
      return "agent_down";
    case Errc::unavailable:
      return "unavailable";
    case Errc::cancelled:
      return "cancelled";
    case Errc::unsupported:
      return "unsupported";
    case Errc::guest_user:
      return "guest_user";
    case Errc::file_not_found:
      return "file_not_found";
    case Errc::file_permission:
      return "file_permission";
    case Errc::is_directory:
      return "is_directory";
    case Errc::output_limit:
      return "output_limit";
    case Errc::internal:
      return "internal";
  }
  return "internal";
}

const char* Error::what() const noexcept {
  if (!text_.empty()) return text_.c_str();
  try {
    if (!doing.empty()) text_ += doing + ": ";
    text_ += said.empty() ? std::string{name_of(kind)} : said;
    for (const auto& [parameter, message] : parameters) {
      text_ += fmt::format("; {}: {}", parameter, message);
    }
    if (!method.empty()) {
      text_ += fmt::format(" [{} {}{}{}]", method, path, host.empty() ? "" : " on " + host,
                           status == 0 ? "" : fmt::format(", status {}", status));
    } else if (!host.empty()) {
      text_ += fmt::format(" [{}]", host);
    }
    if (sent == Sent::maybe) text_ += "; it may have taken effect";
    if (!hint.empty()) text_ += ". " + hint;
    for (const auto& line : task_log) text_ += "\n  task log: " + line;
  } catch (const std::exception&) {
    return "out of memory while describing an error";
  }
  return text_.c_str();
}

void throw_bad_input(std::string_view field, std::string_view value, std::string_view wanted) {
  throw Error{Errc::bad_input, fmt::format("{}: is \"{}\"; {}", field, value, wanted)};
}

}  // namespace px
