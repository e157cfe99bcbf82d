#pragma once
#include "guest/channel.hpp"
#include "guest/linux/scripts.hpp"

#include <array>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace px::guest::testing {

/// A channel whose guest is a shell on this machine: launches really run, under a directory of
/// the test's own in place of /run/.proxmox-sandbox. Faults are handed in.
class ShellChannel : public Channel {
 public:
  explicit ShellChannel(std::vector<std::string> shell = {"/bin/sh"}) : shell_{std::move(shell)} {
    std::string pattern = (std::filesystem::temp_directory_path() / "px-guest-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~ShellChannel() override { std::filesystem::remove_all(directory_); }

  /// Called before each call with its name and number; may throw. After the launch has really
  /// begun when the name is "launched" or the answer was read when "polled".
  std::function<void(std::string_view, int)> fault = [](std::string_view, int) {};
  int launches = 0;
  int polls = 0;
  int reads = 0;

  const std::filesystem::path& directory() const { return directory_; }
  std::filesystem::path records() const { return directory_ / "x"; }

  awaitable<LaunchId> launch(Launch what) override {
    fault("launch", ++launches);
    std::vector<std::string> words = shell_;
    // Another shell in place of /bin/sh.
    for (std::size_t i = 1; i < what.argv.size(); ++i) words.push_back(here(what.argv[i]));
    const auto base = directory_ / std::to_string(launches);
    std::ofstream{base.string() + ".in", std::ios::binary} << here(what.input);
    const int pid = spawn(words, base.string());
    running_[pid] = base.string();
    fault("launched", launches);
    co_return LaunchId{pid};
  }

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
    std::ifstream file{here(path), std::ios::binary};
    if (!file) throw Error{Errc::server, "failed to open file " + path};
    file.seekg(static_cast<std::streamoff>(offset));
    FilePart part;
    part.bytes.resize(count);
    file.read(part.bytes.data(), static_cast<std::streamsize>(count));
    part.bytes.resize(static_cast<std::size_t>(file.gcount()));
    part.at_end = file.peek() == std::ifstream::traits_type::eof();
    co_return part;
  }

  awaitable<void> write_file(std::string path, std::string bytes) override {
    std::ofstream{here(std::move(path)), std::ios::binary} << bytes;
    co_return;
  }

  /// A file stands for the drive. `spoil` may change its bytes.
  bool medium = false;
  std::function<void(std::string&)> spoil = [](std::string&) {};
  int media = 0;

  bool has_medium() const noexcept override { return medium; }
  awaitable<void> with_medium(Medium what, awaitable<void> use) override {
    ++media;
    std::string bytes = "proxmox-sandbox " + what.nonce + " \n";
    bytes.resize(2048, '\0');
    bytes += what.payload;
    bytes.resize((bytes.size() + 2047) / 2048 * 2048, '\0');
    spoil(bytes);
    std::ofstream{directory_ / "sr0", std::ios::binary} << bytes;
    co_await std::move(use);
    std::filesystem::remove(directory_ / "sr0");
  }

 private:
  /// The text as it must be on this machine: the guest's directory is the test's, and where
  /// busybox is the shell there is no util-linux setpriv, as in guests that have only busybox.
  std::string here(std::string text) const {
    replace_all(text, "/run/.proxmox-sandbox", records().string());
    replace_all(text, "/dev/sr[0-9]*", (directory_ / "sr0").string());
    if (shell_.size() > 1) replace_all(text, "command -v setpriv", "command -v no-setpriv");
    return text;
  }

  static void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
      text.replace(at, from.size(), to);
    }
  }

  static int spawn(const std::vector<std::string>& words, const std::string& base) {
    std::vector<char*> argv;
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const int pid = ::fork();
    if (pid != 0) return pid;
    ::dup2(::open((base + ".in").c_str(), O_RDONLY), 0);
    ::dup2(::open((base + ".out").c_str(), O_WRONLY | O_CREAT, 0600), 1);
    ::dup2(::open((base + ".err").c_str(), O_WRONLY | O_CREAT, 0600), 2);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }

  static std::string slurp(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    std::ostringstream out;
    out << file.rdbuf();
    return out.str();
  }

  std::vector<std::string> shell_;
  std::filesystem::path directory_;
  std::map<int, std::string> running_;
};

}  // namespace px::guest::testing
