#pragma once
#include "network/change_note.hpp"
#include "pve/client.hpp"
#include "sandbox/life_sign.hpp"
#include "sandbox/marks.hpp"
#include "support/async.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What a server itself knows of runs: whose each is, and whether it lives, for those on other
/// machines. A run has an empty resource pool on each node that it uses; the pool's comment is its
/// record, and the time in it its life sign: Lease renews that.
namespace px::sandbox {

/// A record that was not renewed for so long is a dead run's.
inline constexpr std::chrono::minutes record_patience{5};

/// Times are the server's: the clocks of machines that look at it need not agree.
struct RunRecord {
  std::string run;                           ///< RunId::text
  std::string node;                          ///< where it has something, or will have
  std::string owner = Mark::this_process();  ///< "alice@desk, process 4711"
  std::chrono::sys_seconds since{};
  std::chrono::sys_seconds renewed{};
  bool kept = false;  ///< what it leaves it leaves on purpose
  network::ChangeNote change{};

  /// "inspect-1a2b3c4d-pve1"
  std::string pool() const;
  /// A line. Proxmox VE takes any text, 2000 characters at least (pve-practice section 7).
  std::string comment() const;
  /// Nothing for a pool that is no record of ours.
  static std::optional<RunRecord> of(std::string_view pool, std::string_view comment);

  /// unknown for a time of renewal that is still to come: the server's clock was set back.
  Life life(std::chrono::sys_seconds now) const;
};

/// A record as it was seen on a server.
struct FoundRecord {
  RunRecord record;
  Life life = Life::unknown;
  std::optional<std::chrono::seconds> age{};  ///< since the run began
  bool is_here = false;                       ///< of the client's node, not another of its cluster
};

/// All that the user may see (Pool.Audit). One light request.
awaitable<std::vector<FoundRecord>> find_records(pve::Client& client);

/// "record of run 1a2b3c4d (pool inspect-1a2b3c4d-pve1)"
std::string text_of(const FoundRecord& found);

/// What `here` knows, which is exact; of other runs what their records say. A run with several
/// lives when one of them says so. Pure.
LifeOf with_records(LifeOf here, const std::vector<FoundRecord>& records);

/// The server's time, as far as its answers told it.
std::chrono::sys_seconds time_of(const pve::Client& client);

}  // namespace px::sandbox
