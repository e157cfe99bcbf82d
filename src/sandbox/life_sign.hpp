#pragma once
#include "sandbox/instances.hpp"
#include "sandbox/marks.hpp"
#include "support/file_lock.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Whether a run's process still lives, as far as this machine and user can tell: each run locks a
/// file of its own in `$XDG_STATE_HOME/proxmox-sandbox/runs` (`~/.local/state/...`), and the
/// system gives the lock back when the process ends, however it ends.
namespace px::sandbox {

/// A server, or one of its nodes, that a run gives no samples for a while.
struct SetAside {
  std::string host;  ///< as the configuration names the server
  std::string node;  ///< empty: the whole server
  std::string why;
  std::chrono::sys_seconds until;  ///< the next sample after that tries it again

  friend bool operator==(const SetAside&, const SetAside&) = default;
};

/// The lock. While it is held, everybody on this machine knows that the run lives; when the
/// process ended without clear(), that it is dead.
class LifeSign {
 public:
  /// Where there is no such directory, and none can be made, there is no sign; the log says why.
  LifeSign(const RunId& run, const Environment& environment);
  ~LifeSign();
  LifeSign(const LifeSign&) = delete;
  LifeSign& operator=(const LifeSign&) = delete;
  /// Removes the file: the run has left nothing on any server.
  void clear();
  /// The run leaves things on purpose; they are nobody's to clean up without being asked.
  void keep();
  /// Says which hosts the run does not use at present; each call says all anew.
  void tell(const std::vector<SetAside>& hosts);

 private:
  /// Replaces what the file says; its time stays, for the age of a run is its file's.
  void write(const std::string& text);

  std::string file_;
  int descriptor_ = -1;
  std::vector<SetAside> told_;
};

enum class Life {
  alive,
  kept,  ///< its process has ended, and what it left was left on purpose
  dead,
  unknown,  ///< of another machine or user; or it has nothing more on the servers
};

/// alive, kept, dead, unknown
std::string_view name_of(Life life) noexcept;
/// Whether its process is surely gone.
constexpr bool has_ended(Life life) noexcept {
  return life == Life::dead || life == Life::kept;
}

struct RunLife {
  Life life = Life::unknown;
  /// Since its first task began; only of a run that is not unknown.
  std::optional<std::chrono::seconds> age{};
};
RunLife life_of(std::string_view run, const Environment& environment);

/// What is known of a run's life; handed to those who decide by it.
using LifeOf = std::function<RunLife(const std::string& run)>;

/// What the living runs of this machine and user told, by run.
std::map<std::string, std::vector<SetAside>> hosts_set_aside(const Environment& environment);

/// The runs of this machine and user that are known to be dead.
std::vector<std::string> dead_runs(const Environment& environment);

/// Removes the files of runs that have ended: of one, or of all (`run` empty). Nothing of them may
/// be left.
void forget_ended(std::string_view run, const Environment& environment);

/// The turn of one process of this machine and user to clean up after the dead: two that did it at
/// once could each take the other's new VM for what it looked at.
class CleanupTurn {
 public:
  explicit CleanupTurn(const Environment& environment);
  /// False: another process has it.
  bool is_ours() const noexcept { return file_.has_value(); }

 private:
  std::optional<FileLock> file_;
};

}  // namespace px::sandbox
