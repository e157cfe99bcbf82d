#pragma once
#include <cstdint>
#include <exception>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace px {

/// What went wrong, in terms a caller can act on. The text for people is in Error.
enum class Errc : std::uint8_t {
  bad_input,        ///< the caller's own value is wrong; nothing was sent
  auth,             ///< 401: login, ticket or token refused
  forbidden,        ///< 403, or "only root may": a right is missing
  rejected,         ///< 400: the server refused the parameters (or something new to this server)
  not_found,        ///< the object does not exist
  already_exists,   ///< the id or name is taken
  busy,             ///< a lock, or "got timeout" on one: wait and repeat
  unreachable,      ///< no connection: name, route, refused, closed before an answer
  tls,              ///< the certificate is not the one expected
  timeout,          ///< our own deadline passed
  proxy,            ///< 595..599: the server lost its own worker; the outcome is unknown
  server,           ///< any other 5xx answer
  protocol,         ///< an answer that can't be understood
  task_failed,      ///< a task's own end says so
  agent_down,       ///< the guest agent does not answer (yet)
  unavailable,      ///< the VM is not running, or gone
  cancelled,        ///< the caller asked to stop
  unsupported,      ///< this server or guest can't do it
  guest_user,       ///< the guest has no such user, or can't switch to it
  file_not_found,   ///< in the guest: ENOENT
  file_permission,  ///< in the guest: EACCES, EPERM, EROFS
  is_directory,     ///< in the guest: EISDIR
  output_limit,     ///< in the guest: a file is larger than the caller's limit
  internal,         ///< a mistake of ours
};

/// Short lower-case name of a kind, as it stands in logs and in Python (`bad_input`, ...).
std::string_view name_of(Errc kind) noexcept;

/// Whether a request had reached the server when it failed.
enum class Sent : std::uint8_t {
  no,        ///< surely not sent: repeating is harmless
  maybe,     ///< sent or partly sent, no answer: find out before repeating
  answered,  ///< the server answered
};

/// The one exception type of the project. Callers switch on `kind`; people read what().
///
/// Never put a secret into any field: what() goes to logs and to the evaluation's record.
class Error : public std::exception {
 public:
  Error(Errc kind, std::string said) : kind{kind}, said{std::move(said)} {}

  Errc kind;
  Sent sent = Sent::no;
  std::string doing;  ///< what was attempted: "clone 9001 -> 142 on pve2"
  std::string said;   ///< what happened, in the server's words where there are some
  std::string hint;   ///< what to do about it
  std::string host;
  std::string method;
  std::string path;
  int status = 0;                                 ///< HTTP status, 0 = none
  std::map<std::string, std::string> parameters;  ///< the server's message for each parameter
  std::vector<std::string> task_log;              ///< the last lines of a failed task's log
  std::string partial_output;  ///< of a guest command that was ended (Errc::timeout)

  /// Fluent setters, so that a throw stays one expression.
  Error&& while_doing(std::string text) && { return doing = std::move(text), std::move(*this); }
  Error&& with_hint(std::string text) && { return hint = std::move(text), std::move(*this); }
  Error&& with_sent(Sent state) && { return sent = state, std::move(*this); }

  /// Everything a person needs, on one line but for the task log.
  const char* what() const noexcept override;

 private:
  mutable std::string text_;
};

/// Throws Error{bad_input}: "FIELD: is VALUE; WANTED".
[[noreturn]] void throw_bad_input(std::string_view field, std::string_view value,
                                  std::string_view wanted);

}  // namespace px
