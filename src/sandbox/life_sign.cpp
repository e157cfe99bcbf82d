#include "sandbox/life_sign.hpp"

#include "support/error.hpp"
#include "support/log.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace px::sandbox {

namespace fs = std::filesystem;

namespace {

/// Empty where the environment names none.
fs::path directory_of(const Environment& environment) {
  const auto state = environment("XDG_STATE_HOME").value_or("");
  const auto home = environment("HOME").value_or("");
  if (state.empty() && home.empty()) return {};
  const auto base = state.empty() ? fs::path{home} / ".local" / "state" : fs::path{state};
  return base / "proxmox-sandbox" / "runs";
}

bool names_a_run(std::string_view text) {
  try {
    RunId::parse(text);
    return true;
  } catch (const Error&) {
    return false;
  }
}

RunLife life_by(const fs::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {};
  RunLife out;
  const bool free = ::flock(descriptor, LOCK_SH | LOCK_NB) == 0;
  out.life = free ? Life::dead : Life::alive;
  struct stat status{};
  if (::fstat(descriptor, &status) == 0) {
    const auto since = std::chrono::system_clock::from_time_t(status.st_mtime);
    out.age =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now() - since);
  }
  ::close(descriptor);
  return out;
}

}  // namespace

LifeSign::LifeSign(const RunId& run, const Environment& environment) {
  const auto directory = directory_of(environment);
  if (directory.empty()) return;
  std::error_code error;
  fs::create_directories(directory, error);
  file_ = directory / run.text;
  // Locked before it has its name, so that nobody takes it for a dead run's.
  const std::string unnamed = directory / ("." + run.text);
  descriptor_ = ::open(unnamed.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor_ < 0 || ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 ||
      ::rename(unnamed.c_str(), file_.c_str()) != 0) {
    log::warn("{}: {}; net rm --dead won't know when this run is dead", file_,
              std::strerror(errno));
  }
}

LifeSign::~LifeSign() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void LifeSign::clear() {
  if (descriptor_ < 0) return;
  // While it is locked, for the same reason.
  ::unlink(file_.c_str());
  ::close(descriptor_);
  descriptor_ = -1;
}

RunLife life_of(std::string_view run, const Environment& environment) {
  const auto directory = directory_of(environment);
  if (directory.empty() || !names_a_run(run)) return {};
  return life_by(directory / run);
}

void forget_dead(std::string_view run, const Environment& environment) {
  const auto directory = directory_of(environment);
  if (directory.empty()) return;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator{directory, error}) {
    const auto name = entry.path().filename().string();
    if (!names_a_run(name) || (!run.empty() && run != name)) continue;
    if (life_by(entry.path()).life == Life::dead) fs::remove(entry.path(), error);
  }
}

}  // namespace px::sandbox
