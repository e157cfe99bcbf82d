#include "node/state.hpp"

#include "support/error.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace px::node {

namespace {

[[noreturn]] void fail(std::string_view doing, const std::filesystem::path& path) {
  throw Error{Errc::server, fmt::format("{} {}: {}", doing, path.string(), std::strerror(errno))};
}

void write_all(int file, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const auto count = ::write(file, text.data(), text.size());
    if (count < 0) {
      const int reason = errno;
      ::close(file);
      ::unlink(path.c_str());
      errno = reason;
      fail("writing", path);
    }
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

}  // namespace

State::State(std::filesystem::path directory, Lasting lasting)
    : directory_{std::move(directory)}, lasting_{lasting} {
  std::filesystem::create_directories(directory_);
  ::chmod(directory_.c_str(), 0700);
  lock_.emplace(directory_ / "lock");
  if (!lock_->try_take()) {
    throw Error{Errc::busy, fmt::format("another node runs on {}", directory_.string())}.with_hint(
        "Stop it (proxmox-sandbox node --stop), or choose another --dir.");
  }
}

std::optional<std::string> State::read(std::string_view name) const {
  std::ifstream file{path(name), std::ios::binary};
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void State::write(std::string_view name, std::string_view text) const {
  const auto target = path(name);
  std::filesystem::create_directories(target.parent_path());
  const auto beside = target.string() + ".new";
  const int file = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) fail("opening", beside);
  write_all(file, text, beside);
  if (lasting_ == Lasting::power_cut) ::fsync(file);
  ::close(file);
  if (::rename(beside.c_str(), target.c_str()) != 0) fail("replacing", target);
}

void State::remove(std::string_view name) const {
  std::filesystem::remove(path(name));
}

}  // namespace px::node
