#pragma once
#include "guest/process_channel.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace px::guest::testing {

/// A channel whose guest is Wine on this machine: the very helper runs, from a directory of the
/// test's own in place of C:\Windows.
class WineChannel : public ProcessChannel {
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

  int writes = 0;

  /// Here, and as the guest names it.
  std::filesystem::path directory() const { return prefix() / "drive_c" / name_; }
  std::string in_guest(const std::string& file) const { return "C:\\" + name_ + "\\" + file; }

  awaitable<LaunchId> launch(Launch what) override {
    fault("launch", ++launches);
    std::vector<std::string> words{wine()};
    for (const auto& arg : what.argv) words.push_back(as_in_guest(arg));
    const auto base = directory() / ("launch-" + std::to_string(launches));
    co_return begin(words, base.string(), what.input);
  }

  awaitable<void> write_file(std::string path, std::string bytes) override {
    fault("write", ++writes);
    std::ofstream file{place_of(path), std::ios::binary};
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

  Error not_there(const std::string& /*path*/) const override {
    return Error{Errc::server, "Datei nicht gefunden."}.with_sent(Sent::answered);
  }

  std::string as_in_guest(std::string text) const {
    const std::string from = "C:\\Windows";
    if (text.starts_with(from)) text.replace(0, from.size(), "C:\\" + name_);
    return text;
  }

  std::filesystem::path place_of(const std::string& path) const override {
    std::string text = as_in_guest(path).substr(3);
    for (auto& c : text) c = c == '\\' ? '/' : c;
    return prefix() / "drive_c" / text;
  }

  std::string name_;
};

}  // namespace px::guest::testing
