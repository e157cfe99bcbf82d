#pragma once
#include "guest/channel.hpp"
#include "guest/guest.hpp"
#include "guest/linux/launch.hpp"
#include "guest/runner.hpp"

#include <memory>
#include <string>

namespace px::guest {

/// Through two shell scripts (guest/linux/scripts.hpp), with what every Linux has.
class LinuxGuest : public Guest {
 public:
  /// `pool` takes compression and hashing. `user` is the default user, who owns the files that
  /// are written and whose home is the working directory.
  LinuxGuest(std::shared_ptr<Channel> channel, asio::thread_pool& pool, std::string user = "root");

  awaitable<ExecResult> exec(ExecRequest request) override;
  awaitable<std::string> read_file(std::string path, std::uint64_t limit) override;
  awaitable<void> write_file(std::string path, std::string contents) override;

 private:
  static Runner::Job job(linux_guest::RunRequest request);
  awaitable<void> stage(std::string path, std::string bytes);
  awaitable<void> put(std::string path, std::string bytes, std::string user, bool private_parents);
  awaitable<RunAnswer> put_by_medium(linux_guest::RunRequest request, std::string bytes);
  awaitable<void> complete_output(const std::string& id, RunAnswer& answer, std::uint64_t limit);

  std::shared_ptr<Channel> channel_;
  Runner runner_;
  asio::thread_pool& pool_;
  std::string user_;
  bool medium_works_ = true;
  double medium_bytes_per_second_ = 25e6;  // measured on the way; guest-facts section 1
};

}  // namespace px::guest
