#pragma once
#include "sandbox/belongings.hpp"
#include "sandbox/life_sign.hpp"
#include "sandbox/run_record.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

/// Which of our things somebody wants removed, and which of those may go. Pure: what is known of a
/// run's life is handed in.
namespace px::sandbox {

/// Exactly one of them.
struct CleanupSelection {
  std::string id{};   ///< a run, alive or not, or a VM by its number
  bool dead = false;  ///< runs that are known to be dead
  /// Runs that began so long ago and are not known to live.
  std::optional<std::chrono::seconds> older{};
  bool everything = false;  ///< also of runs that live, and of the existing provider
};

template <class T>
struct Chosen {
  T what;
  std::string why;
};

struct CleanupChoice {
  std::vector<Chosen<OwnVm>> vms{};
  std::vector<Chosen<OwnFile>> files{};
  std::vector<Chosen<network::Remains>> networks{};
  std::vector<Chosen<FoundRecord>> records{};
  std::vector<std::string> lock_tokens{};  ///< of the SDN's lock, which these runs have or had
  /// Runs that were meant, too, but stay, with the reason.
  std::vector<Chosen<std::string>> kept{};

  bool empty() const noexcept {
    return vms.empty() && files.empty() && networks.empty() && records.empty();
  }
};

/// `records`: find_records() on the same server. A zone without a VNet is of the run whose record
/// says that it makes it. Those of the node go with what their runs have there; one whose run has
/// ended and has nothing there is a dead one's, even of a run that kept its things.
CleanupChoice choose(const Belongings& found, const std::vector<FoundRecord>& records,
                     const CleanupSelection& selection, const LifeOf& life_of,
                     std::chrono::sys_seconds now);

/// "VM 101 (victim) on node pve1", "file local:iso/x.iso", "zone px123z".
std::string text_of(const OwnVm& own);
std::string text_of(const OwnFile& own);
std::string text_of(const network::Remains& networks);

}  // namespace px::sandbox
