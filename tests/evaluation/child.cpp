#include "evaluation/child.hpp"

#include "support/error.hpp"

#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace px::testing {

namespace {

std::vector<std::string> environment_with(std::map<std::string, std::string> more) {
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text{*entry};
    const auto equals = text.find('=');
    more.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  std::vector<std::string> out;
  for (const auto& [name, value] : more) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const auto& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

}  // namespace

Child::Child(const std::vector<std::string>& argv, const std::map<std::string, std::string>& more,
             std::filesystem::path output)
    : output_{std::move(output)} {
  const auto variables = environment_with(more);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  // A child that held a node's sockets would keep connections open that the node has dropped.
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  const int failed = ::posix_spawn(&pid_, argv.front().c_str(), &actions, nullptr,
                                   pointers_to(argv).data(), pointers_to(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    throw Error{Errc::internal, argv.front() + " can't be started: " + std::strerror(failed)};
  }
}

Child::~Child() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

int Child::wait() {
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string Child::output() const {
  std::ifstream file{output_, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

}  // namespace px::testing
