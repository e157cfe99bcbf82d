#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/qemu.hpp"
#include "support/async.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

/// The right to make a template, held on the server itself: of all processes that need the same
/// template at once, one makes it and the others wait for it.
///
/// What is to be made has a number of its own, which follows from its content: Proxmox VE makes a
/// VM of a number once. That VM is the claim; it becomes the template. Its maker renews a line in
/// its description; when that stays the same for minutes, another process takes it over, by a
/// change that the server makes only if nobody else was faster (`digest`).
namespace px::image {

/// What the line begins with.
inline constexpr std::string_view making_key = "inspect-making: ";

/// What the VM looks like that has the number.
struct ClaimSeen {
  bool is_there = false;
  bool is_half_made = false;  ///< being created: nothing says yet what it is
  bool is_ours = false;       ///< has the tag of what is to be made
  bool is_template = false;
  bool maker_is_dead = false;  ///< known to be
  std::string beat{};          ///< the line that its maker renews
};

/// Decides what to do about it. No socket, no clock.
class ClaimMachine {
 public:
  /// A maker whose line stays the same for so long is dead, and so is a VM that is half-made.
  static constexpr std::chrono::seconds patience{120};

  /// A VM that somebody begins to make is seen sooner.
  static constexpr std::chrono::seconds patience_with_the_unseen{10};

  enum class Next : std::uint8_t {
    create,     ///< nobody has it
    use,        ///< it is a template
    wait,       ///< someone makes it
    take_over,  ///< its maker seems to be dead
    pass_on,    ///< it is something else: try the next number
  };
  Next saw(const ClaimSeen& seen, SteadyTime now);
  /// The server said that the number is taken. Where nothing is to be seen of it for long, it is
  /// another node's.
  void was_refused(SteadyTime now) {
    if (!refused_since_) refused_since_ = now;
  }
  /// A task still works on it: its maker's line may stay as it is.
  void saw_work(SteadyTime now) { since_ = now; }

 private:
  std::string last_beat_;
  std::optional<SteadyTime> since_;
  std::optional<SteadyTime> refused_since_;
};

struct ClaimTerms {
  using Make = std::function<awaitable<pve::Upid>(pve::VmRef vm, pve::Params config)>;

  pve::NodeName node;
  std::string content_tag;  ///< of the template, unique for its content
  std::string tags;         ///< all its tags
  std::string name;         ///< DNS name
  std::string note;         ///< the description, ends with a line feed
  std::string title;        ///< for log lines
  /// Whether the run that a note names is known to be dead.
  std::function<bool(const std::string& note)> is_dead{};
  /// Begins to make the VM with tags, name and description; else it is made without disks.
  Make make{};
};

/// The number that a template of this content has on this node, if nothing else has it:
/// 100'000'000 and above, where the server proposes none by itself.
pve::Vmid claimed_number(const pve::NodeName& node, std::string_view content_tag);

struct Claimed {
  pve::VmRef vm;
  bool is_ready = false;  ///< made by someone else meanwhile; else it is ours to make
  std::string maker{};    ///< who we are in its description
};

/// Waits for the template, or for the right to make it. What a dead maker left in the VM is gone
/// then. Errors: timeout (with the VM that was waited for), and the server's.
awaitable<Claimed> claim(pve::Client& client, ClaimTerms terms, Deadline limit);

/// Removes the VM if it still is ours to make; a failure is told in the log.
awaitable<void> give_up(pve::Client& client, Claimed claimed);

/// Shows that the maker lives, until it is cancelled. Throws Error{unavailable} when the VM was
/// taken over or removed.
awaitable<void> keep_claim(pve::Client& client, Claimed claimed, std::string note);

}  // namespace px::image
