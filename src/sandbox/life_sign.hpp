#pragma once
#include "sandbox/instances.hpp"
#include "sandbox/marks.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

/// Whether a run's process still lives, as far as this machine and user can tell: each run locks a
/// file of its own in `$XDG_STATE_HOME/proxmox-sandbox/runs` (`~/.local/state/...`), and the
/// system gives the lock back when the process ends, however it ends.
namespace px::sandbox {

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

 private:
  std::string file_;
  int descriptor_ = -1;
};

enum class Life {
  alive,
  dead,
  unknown,  ///< of another machine or user; or it has nothing more on the servers
};

struct RunLife {
  Life life = Life::unknown;
  /// Since its first task began; only of a run that is not unknown.
  std::optional<std::chrono::seconds> age{};
};
RunLife life_of(std::string_view run, const Environment& environment);

/// Removes the files of dead runs: of one, or of all (`run` empty). Nothing of them may be left.
void forget_dead(std::string_view run, const Environment& environment);

}  // namespace px::sandbox
