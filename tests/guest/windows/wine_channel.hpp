#pragma once
#include "guest/channel.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace px::guest::testing {

/// A channel whose guest is Wine on this machine: the very helper runs, from a directory of the
/// test's own in place of C:\Windows. Faults are handed in.
class WineChannel : public Channel {
 public:
  /// Wine's loader, or empty where there is none.
  static std::string wine() {
    for (const auto* path : {"/usr/lib/wine/wine64", "/usr/bin/wine64", "/usr/bin/wine"}) {
      if (::access(path, X_OK) == 0) return path;
    }
    return {};
  }

  WineChannel() {
    ::setenv("WINEPREFIX", prefix().c_str(), 1);
    ::setenv("WINEDEBUG", "-all", 1);
    ::setenv("WINEDLLOVERRIDES", "mscoree,mshtml=", 1);  // asks for nothing to be downloaded
    make_prefix();
    name_ = "px-" + std::to_string(::getpid());
    std::filesystem::create_directories(directory());
  }
  ~WineChannel() override { std::filesystem::remove_all(directory()); }

  /// Called before each call with its name and number; may throw. After the launch has really
  /// begun when the name is "launched" or the answer was read when "polled".
  std::function<void(std::string_view, int)> fault = [](std::string_view, int) {};
  int launches = 0;
  int polls = 0;
  int reads = 0;
  int writes = 0;

  /// Here, and as the guest names it.
  std::filesystem::path directory() const { return prefix() / "drive_c" / name_; }
  std::string in_guest(const std::string& file) const { return "C:\\" + name_ + "\\" + file; }

  awaitable<LaunchId> launch(Launch what) override {
    fault("launch", ++launches);
    std::vector<std::string> words{wine()};
    for (const auto& arg : what.argv) words.push_back(as_in_guest(arg));
    const auto base = (directory() / ("launch-" + std::to_string(launches))).string();
    std::ofstream{base + ".in", std::ios::binary} << what.input;
    const int pid = spawn(words, base);
    running_[pid] = base;
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
    if (!file) throw Error{Errc::server, "Datei nicht gefunden."}.with_sent(Sent::answered);
    file.seekg(static_cast<std::streamoff>(offset));
    FilePart part;
    part.bytes.resize(count);
    file.read(part.bytes.data(), static_cast<std::streamsize>(count));
    part.bytes.resize(static_cast<std::size_t>(file.gcount()));
    part.at_end = file.peek() == std::ifstream::traits_type::eof();
    co_return part;
  }

  awaitable<void> write_file(std::string path, std::string bytes) override {
    fault("write", ++writes);
    std::ofstream file{here(path), std::ios::binary};
    if (!(file << bytes)) throw Error{Errc::server, "Pfad nicht gefunden."};
    co_return;
  }

  bool has_medium() const noexcept override { return false; }
  awaitable<void> with_medium(Medium, awaitable<void>) override { co_return; }

 private:
  /// One for all tests, for making it takes half a minute and 700 MB.
  static std::filesystem::path prefix() {
    return std::filesystem::path{PX_SOURCE_DIR} / "build" / "wine";
  }

  static void make_prefix() {
    std::filesystem::create_directories(prefix());
    const int lock =
        ::open((prefix().string() + ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    ::flock(lock, LOCK_EX);
    if (!std::filesystem::exists(prefix() / "ready")) {
      const int pid = spawn({wine(), "wineboot", "--init"}, (prefix() / "boot").string());
      int status = 0;
      ::waitpid(pid, &status, 0);
      if (status == 0) std::ofstream{prefix() / "ready"} << "";
    }
    ::close(lock);
  }

  std::string as_in_guest(std::string text) const {
    const std::string from = "C:\\Windows";
    if (text.starts_with(from)) text.replace(0, from.size(), "C:\\" + name_);
    return text;
  }

  std::filesystem::path here(const std::string& path) const {
    std::string text = as_in_guest(path).substr(3);
    for (auto& c : text) c = c == '\\' ? '/' : c;
    return prefix() / "drive_c" / text;
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

  static std::string slurp(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
  }

  std::string name_;
  std::map<int, std::string> running_;
};

}  // namespace px::guest::testing
