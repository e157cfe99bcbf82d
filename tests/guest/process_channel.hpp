#pragma once
#include "guest/channel.hpp"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace px::guest::testing {

/// A channel whose launches really run, as processes of this machine. Faults are handed in.
class ProcessChannel : public Channel {
 public:
  /// Called before each call with its name and number; may throw. After the launch has really
  /// begun when the name is "launched" or the answer was read when "polled".
  std::function<void(std::string_view, int)> fault = [](std::string_view, int) {};
  int launches = 0;
  int polls = 0;
  int reads = 0;

  awaitable<std::optional<LaunchEnd>> poll(LaunchId launch) override {
    fault("poll", ++polls);
    const int pid = static_cast<int>(launch);
    const auto it = running_.find(pid);
    if (it == running_.end()) throw Error{Errc::not_found, "Invalid parameter 'pid'"};
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) == 0) co_return std::nullopt;
    LaunchEnd end{WEXITSTATUS(status), slurp(it->second + ".out"), slurp(it->second + ".err")};
    running_.erase(it);
    fault("polled", polls);
    co_return end;
  }

  awaitable<FilePart> read_file(std::string path, std::uint64_t offset,
                                std::uint64_t count) override {
    fault("read", ++reads);
    std::ifstream file{place_of(path), std::ios::binary};
    if (!file) throw not_there(path);
    file.seekg(static_cast<std::streamoff>(offset));
    FilePart part;
    part.bytes.resize(count);
    file.read(part.bytes.data(), static_cast<std::streamsize>(count));
    part.bytes.resize(static_cast<std::size_t>(file.gcount()));
    part.at_end = file.peek() == std::ifstream::traits_type::eof();
    co_return part;
  }

 protected:
  /// A path of the guest on this machine.
  virtual std::filesystem::path place_of(const std::string& path) const = 0;
  /// What the agent of such a guest says of a file that is missing.
  virtual Error not_there(const std::string& path) const = 0;

  /// Launch number `launches`. Its streams are files whose names begin with `base`.
  LaunchId begin(const std::vector<std::string>& words, const std::string& base,
                 const std::string& input) {
    std::ofstream{base + ".in", std::ios::binary} << input;
    const int pid = spawn(words, base);
    running_[pid] = base;
    fault("launched", launches);
    return LaunchId{pid};
  }

  static int spawn(const std::vector<std::string>& words, const std::string& base) {
    std::vector<char*> argv;
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const int pid = ::fork();
    if (pid != 0) return pid;
    ::dup2(::open((base + ".in").c_str(), O_RDONLY | O_CREAT, 0600), 0);
    ::dup2(::open((base + ".out").c_str(), O_WRONLY | O_CREAT, 0600), 1);
    ::dup2(::open((base + ".err").c_str(), O_WRONLY | O_CREAT, 0600), 2);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }

 private:
  static std::string slurp(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
  }

  std::map<int, std::string> running_;
};

}  // namespace px::guest::testing
