#include "sweep/host_guest.hpp"

#include "support/error.hpp"

#include <boost/algorithm/string/replace.hpp>

#include <fcntl.h>
#include <fstream>
#include <regex>
#include <spawn.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

namespace px::testing {

namespace {

namespace fs = std::filesystem;

std::string slurp(const fs::path& path) {
  std::ifstream file{path, std::ios::binary};
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

/// Runs a program with files for its streams and returns its status. Files, for a background child
/// may keep a stream open after the end.
int run_to_end(const std::vector<std::string>& argv, const std::string& files) {
  std::vector<char*> words;
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, (files + ".in").c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, (files + ".out").c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, (files + ".err").c_str(), O_WRONLY | O_CREAT, 0600);
  // A child that held the node's sockets would keep connections open that the node has dropped.
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw Error{Errc::internal, "posix_spawn failed"};
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

void HostGuest::begin(fs::path directory) {
  const std::lock_guard lock{mutex_};
  directory_ = std::move(directory);
  std::error_code in_use;  // by a child that a script left behind
  fs::remove_all(directory_, in_use);
}

std::map<std::string, std::string> HostGuest::contents(const std::string& name) const {
  const std::lock_guard lock{mutex_};
  std::map<std::string, std::string> out;
  std::error_code none_yet;
  for (const auto& vm : fs::directory_iterator{directory_, none_yet}) {
    const auto file = vm.path() / name;
    if (fs::exists(file)) out[vm.path().filename().string()] = slurp(file);
  }
  return out;
}

node::ExecAnswer HostGuest::run(node::SimulatedState& state, const std::vector<std::string>& argv,
                                const std::string& input) {
  const std::lock_guard lock{mutex_};
  fs::create_directories(directory_ / std::to_string(state.vmid));
  std::vector<std::string> words;
  for (const auto& word : argv) words.push_back(here(word, state.vmid));
  // The first line is the program; what follows are a command's own bytes.
  const auto line_end = std::min(input.find('\n'), input.size());
  const auto files = (directory_ / fmt::format("launch-{}", ++launches_)).string();
  std::ofstream{files + ".in", std::ios::binary} << here(input.substr(0, line_end), state.vmid)
                                                 << input.substr(line_end);
  const int status = run_to_end(words, files);
  return {status, slurp(files + ".out"), slurp(files + ".err")};
}

/// The text as it must be on this machine.
std::string HostGuest::here(std::string text, int vmid) const {
  const auto vm = (directory_ / std::to_string(vmid)).string();
  boost::replace_all(text, "/run/.proxmox-sandbox", vm + "/records");
  boost::replace_all(text, "/swept", vm);
  boost::replace_all(text, "/dev/sr[0-9]*", medium_of(vmid).string());
  return text;
}

/// What lies in the VM's CD-ROM drive.
fs::path HostGuest::medium_of(int vmid) const {
  const auto config = slurp(node_ / "qemu-server" / fmt::format("{}.conf", vmid));
  static const std::regex drive{"local:iso/([^,\n]+),media=cdrom"};
  std::smatch found;
  if (!std::regex_search(config, found, drive)) return "/dev/no-medium";
  return node_ / "storage/local/template/iso" / found[1].str();
}

}  // namespace px::testing
