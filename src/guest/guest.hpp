#pragma once
#include "guest/channel.hpp"
#include "guest/linux/launch.hpp"
#include "guest/linux/program.hpp"
#include "support/async.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace px::guest {

/// A command as Inspect asks for it (inspect-contract section 1.2).
struct ExecRequest {
  linux_guest::Command command;
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

/// Commands and files in one running Linux guest, through a channel. Calls may overlap.
///
/// Errors common to all: unavailable (the VM is off or restarted under the command), agent_down
/// (the agent stays silent), and what the channel itself reports. A cancelled call ends its
/// command in the guest before it returns.
class Guest {
 public:
  /// `pool` takes compression and hashing. `user` is the default user, who owns the files that
  /// are written and whose home is the working directory.
  Guest(std::shared_ptr<Channel> channel, asio::thread_pool& pool, std::string user = "root");

  /// Runs a command once, whatever happens to the requests. Errors: bad_input, timeout (with
  /// Error::partial_output, stdout then stderr), file_permission (the program is not executable).
  /// A missing program is status 127, a missing directory 126, an unknown user 126, as text on
  /// stderr.
  awaitable<ExecResult> exec(ExecRequest request);

  /// Errors: file_not_found, file_permission, is_directory, output_limit (nothing is transferred).
  awaitable<std::string> read_file(std::string path, std::uint64_t limit);

  /// Makes missing parents, replaces what is there. Errors: file_permission, is_directory,
  /// file_not_found (a parent that is no directory).
  awaitable<void> write_file(std::string path, std::string contents);

 private:
  class Meter;

  awaitable<linux_guest::RunAnswer> run(linux_guest::RunRequest request,
                                        std::optional<std::chrono::milliseconds> timeout);
  awaitable<linux_guest::RunAnswer> follow(linux_guest::RunRequest request, Deadline limit,
                                           std::chrono::milliseconds timeout);
  awaitable<linux_guest::RunAnswer> kill(std::string id);
  awaitable<LaunchEnd> run_script_to_end(Launch launch);
  awaitable<void> stage(std::string path, std::string bytes);
  awaitable<void> put(std::string path, std::string bytes, std::string user, bool private_parents);
  awaitable<linux_guest::RunAnswer> put_by_medium(linux_guest::RunRequest request,
                                                  std::string bytes);
  awaitable<std::string> rest_of(std::string file, std::uint64_t from, std::uint64_t limit);
  awaitable<void> complete_output(const std::string& id, linux_guest::RunAnswer& answer,
                                  std::uint64_t limit);

  std::shared_ptr<Channel> channel_;
  asio::thread_pool& pool_;
  std::string user_;
  std::string boot_id_;
  std::vector<std::string> forget_;
  linux_guest::QuickPause quick_pause_;
  int running_ = 0;
  bool medium_works_ = true;
  double medium_bytes_per_second_ = 25e6;  // measured on the way; guest-facts section 1
};

}  // namespace px::guest
