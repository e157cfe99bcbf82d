#pragma once
#include "pve/qemu.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

/// Why a guest does not answer: whether its VM is dead, and of what. Decided from what was seen,
/// without socket and clock.
namespace px::guest {

/// What one look at a VM saw.
struct Sight {
  enum class Reach : std::uint8_t {
    vm,             ///< the server told how the VM is, or that there is none
    busy,           ///< the server answers, but did not tell it: overloaded, or a right is missing
    node_silent,    ///< the server can't reach the VM's node
    node_offline,   ///< the cluster says that the node is off
    server_silent,  ///< the server refuses connections, or says nothing
  };
  Reach reach = Reach::vm;
  bool there = true;  ///< of Reach::vm
  pve::qemu::VmStatus status{};
  std::string said{};  ///< the server's words, where it did not tell how the VM is
};

/// How long nothing was heard of a guest, and what was tried meanwhile.
class Silence {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// A request is about to be made: when nobody asked for long, what was seen then tells nothing
  /// any more. To each belongs an ended().
  void asked(Time now) noexcept;
  void ended() noexcept { --under_way_; }
  void heard() noexcept;
  /// The server has waited for the guest's agent in vain, from `began` on.
  void missed(Time began, Time now) noexcept;
  /// A look at the VM, for the sake of a request that had no answer from `began` on.
  void looked(Sight::Reach reach, Time began, Time now) noexcept;

  std::chrono::steady_clock::duration lasting(Time now) const noexcept;
  /// When it will have lasted `patience`; nothing without a silence.
  std::optional<Time> end_of(std::chrono::steady_clock::duration patience) const noexcept;
  /// How often the agent was waited for.
  int misses() const noexcept { return misses_; }
  /// How often in a row the server or node was silent.
  int silent_looks() const noexcept { return silent_looks_; }

 private:
  void note(Time began, Time now) noexcept;

  std::optional<Time> since_;
  Time last_{};  ///< when the last thing was noted
  int misses_ = 0;
  int silent_looks_ = 0;
  int under_way_ = 0;  ///< requests that were asked and have not ended
};

/// The VM that a diagnosis is of, in words.
struct VmWords {
  std::string text;         ///< "VM 101 (victim) on node pve1"
  std::string console_url;  ///< may be empty
};

/// So long may a guest be silent that waits for processors most of the time: the node has more to
/// do than it can, and everything on it takes long.
constexpr std::chrono::seconds patience_with_the_starved{40};

/// Before the end of its patience with a silent guest a watch listens so long to the console.
constexpr std::chrono::milliseconds listening_time{2500};

/// Whether it is time to listen to the VM's console: its guest will soon have been silent for
/// `patience`, and prints perhaps why. A halted VM prints nothing any more.
bool is_time_to_listen(const Sight& sight, const Silence& silence,
                       std::chrono::steady_clock::duration patience, Silence::Time now);

/// Error{unavailable} that says what the VM died of; nothing as long as it may be alive.
///
/// What QEMU or the server says for certain (stopped, deleted, panicked) counts at once. Silence
/// alone counts after `patience`, and only when the server waited for the agent, or was asked
/// itself, twice: an agent under load takes seconds for an answer, and a server is restarted. Where
/// the server says that the VM is starved of processors, patience_with_the_starved counts.
std::optional<Error> cause_of_death(const Sight& sight, const Silence& silence,
                                    std::chrono::steady_clock::duration patience, Silence::Time now,
                                    const VmWords& vm);

}  // namespace px::guest
