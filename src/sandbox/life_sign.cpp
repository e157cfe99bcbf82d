#include "sandbox/life_sign.hpp"

#include "support/error.hpp"
#include "support/json.hpp"
#include "support/log.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace px::sandbox {

namespace fs = std::filesystem;

namespace {

/// Empty where the environment names none.
fs::path directory_of(const Environment& environment) {
  const auto state = state_directory(environment);
  return state.empty() ? fs::path{} : state / "runs";
}

bool names_a_run(std::string_view text) {
  try {
    RunId::parse(text);
    return true;
  } catch (const Error&) {
    return false;
  }
}

const std::string kept_on_purpose = "kept\n";

std::string text_of(const fs::path& file) {
  std::ifstream stream{file};
  return {std::istreambuf_iterator<char>{stream}, {}};
}

RunLife life_by(const fs::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {};
  RunLife out;
  const bool free = ::flock(descriptor, LOCK_SH | LOCK_NB) == 0;
  out.life = free ? Life::dead : Life::alive;
  struct stat status{};
  if (::fstat(descriptor, &status) == 0) {
    if (free && text_of(file) == kept_on_purpose) out.life = Life::kept;
    const auto since = std::chrono::system_clock::from_time_t(status.st_mtime);
    out.age =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now() - since);
  }
  ::close(descriptor);
  return out;
}

}  // namespace

std::string_view name_of(Life life) noexcept {
  switch (life) {
    case Life::alive:
      return "alive";
    case Life::kept:
      return "kept";
    case Life::dead:
      return "dead";
    case Life::unknown:
      break;
  }
  return "unknown";
}

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
    log::warn("{}: {}; nobody else will know whether this run is alive", file_,
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

void LifeSign::keep() {
  write(kept_on_purpose);
}

void LifeSign::tell(const std::vector<SetAside>& hosts) {
  if (hosts == told_) return;
  told_ = hosts;
  json::array lines;
  for (const auto& host : hosts) {
    lines.push_back({{"host", host.host},
                     {"node", host.node},
                     {"why", host.why},
                     {"until", host.until.time_since_epoch().count()}});
  }
  write(boost::json::serialize(lines));
}

void LifeSign::write(const std::string& text) {
  if (descriptor_ < 0) return;
  struct stat status{};
  if (::fstat(descriptor_, &status) != 0) return;
  const auto size = static_cast<::ssize_t>(text.size());
  if (::ftruncate(descriptor_, 0) != 0 ||
      ::pwrite(descriptor_, text.data(), text.size(), 0) != size) {
    log::warn("{}: {}; nobody else sees what this run keeps or sets aside", file_,
              std::strerror(errno));
  }
  const std::array times{status.st_atim, status.st_mtim};
  ::futimens(descriptor_, times.data());
}

RunLife life_of(std::string_view run, const Environment& environment) {
  const auto directory = directory_of(environment);
  if (directory.empty() || !names_a_run(run)) return {};
  return life_by(directory / run);
}

namespace {

/// The files of runs, with what they say.
std::vector<std::pair<fs::path, Life>> all_signs(const Environment& environment) {
  std::vector<std::pair<fs::path, Life>> out;
  const auto directory = directory_of(environment);
  if (directory.empty()) return out;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator{directory, error}) {
    if (!names_a_run(entry.path().filename().string())) continue;
    out.emplace_back(entry.path(), life_by(entry.path()).life);
  }
  return out;
}

}  // namespace

std::map<std::string, std::vector<SetAside>> hosts_set_aside(const Environment& environment) {
  std::map<std::string, std::vector<SetAside>> out;
  for (const auto& [file, life] : all_signs(environment)) {
    if (life != Life::alive) continue;
    // It may be written just now; the next look sees it whole.
    boost::system::error_code torn;
    const auto lines = boost::json::parse(text_of(file), torn);
    if (torn || !lines.is_array()) continue;
    for (const auto& line : lines.get_array()) {
      const std::chrono::seconds until{json::number_or(line, "until", 0)};
      out[file.filename().string()].push_back(
          {json::text_or(line, "host"), json::text_or(line, "node"), json::text_or(line, "why"),
           std::chrono::sys_seconds{until}});
    }
  }
  return out;
}

std::vector<std::string> dead_runs(const Environment& environment) {
  std::vector<std::string> out;
  for (const auto& [file, life] : all_signs(environment)) {
    if (life == Life::dead) out.push_back(file.filename().string());
  }
  return out;
}

void forget_ended(std::string_view run, const Environment& environment) {
  for (const auto& [file, life] : all_signs(environment)) {
    if (life == Life::alive || (!run.empty() && run != file.filename().string())) continue;
    std::error_code error;
    fs::remove(file, error);
  }
}

CleanupTurn::CleanupTurn(const Environment& environment) {
  const auto directory = directory_of(environment);
  if (directory.empty()) return;
  try {
    FileLock file{directory / ".cleanup"};
    if (file.try_take()) file_ = std::move(file);
  } catch (const Error& error) {
    log::warn("{}; what dead runs left is left to others", error.what());
  }
}

}  // namespace px::sandbox
