#pragma once
#include "support/async.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace px::guest {

struct Command {
  std::vector<std::string> argv;  ///< at least one; no NUL in any
  std::string cwd;                ///< empty = the working directory; a relative one starts there
  std::vector<std::pair<std::string, std::string>> env;
};

/// A command as Inspect asks for it (inspect-contract section 1.2).
struct ExecRequest {
  Command command;
  std::optional<std::string> input;  ///< none = empty standard input
  std::string user;                  ///< name or uid; empty = the guest's default user
  std::optional<std::chrono::milliseconds> timeout;  ///< of the run alone; none = no limit
  std::uint64_t output_limit = 10 << 20;  ///< bytes of each stream; the last ones are kept
};

struct ExecResult {
  int status = 0;
  std::string out;
  std::string err;
};

/// Commands and files in one running guest. Calls may overlap.
///
/// Errors common to all: unavailable (the VM is off or restarted under the command), agent_down
/// (the agent stays silent), and what the channel itself reports. A cancelled call ends its
/// command in the guest before it returns.
class Guest {
 public:
  virtual ~Guest() = default;

  /// Runs a command once, whatever happens to the requests. Errors: bad_input, timeout (with
  /// Error::partial_output, stdout then stderr), file_permission (the program is not executable),
  /// guest_user (a guest of this kind can never run as that user). A missing program is status
  /// 127, a missing directory 126, an unknown user 126, as text on stderr.
  virtual awaitable<ExecResult> exec(ExecRequest request) = 0;

  /// Errors: file_not_found, file_permission, is_directory, output_limit (nothing is transferred).
  virtual awaitable<std::string> read_file(std::string path, std::uint64_t limit) = 0;

  /// Makes missing parents, replaces what is there. Errors: file_permission, is_directory,
  /// file_not_found (a parent that is no directory).
  virtual awaitable<void> write_file(std::string path, std::string contents) = 0;
};

/// Throw Error{bad_input} naming the field: on a NUL; on no word, an empty program or a NUL.
void refuse_nul(std::string_view field, std::string_view text);
void check_argv(const std::vector<std::string>& argv);

}  // namespace px::guest
