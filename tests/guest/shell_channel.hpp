#pragma once
#include "guest/linux/scripts.hpp"
#include "guest/process_channel.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

namespace px::guest::testing {

/// A channel whose guest is a shell on this machine: launches really run, under a directory of
/// the test's own in place of /run/.proxmox-sandbox.
class ShellChannel : public ProcessChannel {
 public:
  explicit ShellChannel(std::vector<std::string> shell = {"/bin/sh"}) : shell_{std::move(shell)} {
    std::string pattern = (std::filesystem::temp_directory_path() / "px-guest-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~ShellChannel() override { std::filesystem::remove_all(directory_); }

  const std::filesystem::path& directory() const { return directory_; }
  std::filesystem::path records() const { return directory_ / "x"; }

  awaitable<LaunchId> launch(Launch what) override {
    fault("launch", ++launches);
    std::vector<std::string> words = shell_;
    // Another shell in place of /bin/sh.
    for (std::size_t i = 1; i < what.argv.size(); ++i) words.push_back(here(what.argv[i]));
    co_return begin(words, (directory_ / std::to_string(launches)).string(), here(what.input));
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
  std::filesystem::path place_of(const std::string& path) const override { return here(path); }
  Error not_there(const std::string& path) const override {
    return Error{Errc::server, "failed to open file " + path};
  }

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

  std::vector<std::string> shell_;
  std::filesystem::path directory_;
};

}  // namespace px::guest::testing
