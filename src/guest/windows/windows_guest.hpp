#pragma once
#include "guest/channel.hpp"
#include "guest/guest.hpp"
#include "guest/runner.hpp"

#include <memory>
#include <string>

namespace px::guest {

/// Through a helper program that is written into the guest at the first call (guest/windows/
/// helper.hpp). All is done as SYSTEM, the agent's user: another one's password would be needed to
/// be another one. The working directory is C:\.
///
/// What a Windows can't be given (a line that is too long, a quote for a batch file) is a result of
/// 126 with the reason on stderr. A status is the process's exit code as a signed number: an
/// unhandled access violation is -1073741819.
class WindowsGuest : public Guest {
 public:
  explicit WindowsGuest(std::shared_ptr<Channel> channel);

  /// Error{guest_user} for any user but SYSTEM.
  awaitable<ExecResult> exec(ExecRequest request) override;
  awaitable<std::string> read_file(std::string path, std::uint64_t limit) override;
  awaitable<void> write_file(std::string path, std::string contents) override;

 private:
  /// What the helper is asked for.
  struct Request {
    std::string op;
    std::string bytes;  ///< fields and body
    std::uint64_t limit = 0;
  };
  struct Done {
    std::string id;
    RunAnswer answer;  ///< detail: without the lengths
    std::uint64_t out_length = 0;
    std::uint64_t err_length = 0;
  };

  awaitable<void> install();
  awaitable<void> write_helper();
  awaitable<Done> run(Request request, std::optional<std::chrono::milliseconds> timeout);
  awaitable<std::size_t> stage(std::string id, const std::string& bytes);
  awaitable<std::string> stream(std::string file, std::string head, std::uint64_t length,
                                std::uint64_t limit);

  std::shared_ptr<Channel> channel_;
  Runner runner_;
  Semaphore one_install_{1};
  bool installed_ = false;
};

}  // namespace px::guest
