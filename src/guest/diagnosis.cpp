#include "guest/diagnosis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace px::guest {

namespace {

using Duration = std::chrono::steady_clock::duration;

constexpr int enough_looks = 2;
/// Percent of the time that a VM waits for its node's processors: it runs at half its speed or
/// less.
constexpr double starved_pressure = 50;
/// Who waits for a command asks again within seconds.
constexpr std::chrono::seconds memory{5};

/// A state of QEMU (QEMU qapi/run-state.json, RunState) in which no guest can answer.
struct HaltedState {
  std::string_view qmp_status;
  std::string_view words;  ///< behind the VM
  std::string_view hint;
  bool for_good;  ///< it does not pass by itself
};

constexpr std::array halted_states{
    HaltedState{"io-error", "is paused by an I/O error: the storage of its disks is full, or fails",
                "Make room on that storage, then resume the VM. ", true},
    HaltedState{"guest-panicked", "is dead: its kernel panicked", "", true},
    HaltedState{"internal-error", "is halted by an error inside QEMU",
                "The node's journal has QEMU's words. ", true},
    HaltedState{"shutdown", "has shut down", "", true},
    HaltedState{"watchdog", "is halted by its watchdog", "", true},
    HaltedState{"paused", "is paused", "Somebody paused it: resume it. ", false},
    HaltedState{"suspended", "is suspended to its memory", "Resume it. ", false},
};

/// What a server does with a VM for a while: saving or loading its memory, moving it.
bool is_passing(const pve::qemu::VmStatus& status) {
  constexpr std::array<std::string_view, 7> states{
      "save-vm", "restore-vm", "inmigrate", "finish-migrate", "postmigrate", "prelaunch", "colo"};
  return !status.lock.empty() ||
         std::ranges::find(states, std::string_view{status.qmp_status}) != states.end();
}

bool is_starved(const Sight& sight) {
  return sight.status.cpu_pressure >= starved_pressure;
}

std::string console_hint(const VmWords& vm) {
  return vm.console_url.empty() ? "" : "Its console: " + vm.console_url;
}

Error dead(std::string said, std::string hint) {
  return Error{Errc::unavailable, std::move(said)}
      .with_hint(std::move(hint))
      .with_sent(Sent::answered);
}

std::optional<Error> cause_in_vm(const Sight& sight, bool silent_for_long, std::string_view silence,
                                 const VmWords& vm) {
  if (!sight.there) {
    return dead(vm.text + " is gone", "It was deleted, or moved to another node.");
  }
  const auto& status = sight.status;
  if (!status.running) {
    return dead(vm.text + " is stopped",
                "The guest switched itself off, or somebody or the node's kernel ended it: the "
                "node's task list and journal tell.");
  }
  const auto state =
      fmt::format("status running, qmpstatus {}, up {} s", status.qmp_status, status.uptime);
  const auto halted = std::ranges::find(halted_states, status.qmp_status, &HaltedState::qmp_status);
  if (halted != halted_states.end() && (halted->for_good || silent_for_long)) {
    if (!halted->for_good && is_passing(status)) return std::nullopt;
    return dead(fmt::format("{} {} ({})", vm.text, halted->words, state),
                std::string{halted->hint} + console_hint(vm));
  }
  if (!silent_for_long || is_passing(status)) return std::nullopt;
  return dead(fmt::format("the guest agent of {} does not answer, though the VM runs ({}; {})",
                          vm.text, state, silence),
              (is_starved(sight) ? "Its node has too few processors for what runs there. "
                                 : "Was the agent ended in the guest, or does the guest hang? ") +
                  console_hint(vm));
}

}  // namespace

void Silence::asked(Time now) noexcept {
  const bool nobody_asked_since = under_way_ == 0;
  if (nobody_asked_since && since_ && now - last_ > memory) heard();
  ++under_way_;
}

void Silence::heard() noexcept {
  const int under_way = under_way_;
  *this = Silence{};
  under_way_ = under_way;
}

void Silence::missed(Time began, Time now) noexcept {
  note(began, now);
  ++misses_;
}

void Silence::looked(Sight::Reach reach, Time began, Time now) noexcept {
  if (reach == Sight::Reach::server_silent || reach == Sight::Reach::node_silent) {
    note(began, now);
    ++silent_looks_;
    return;
  }
  silent_looks_ = 0;
  // Whatever hung, it was not the agent that was waited for.
  if (misses_ == 0) since_.reset();
}

void Silence::note(Time began, Time now) noexcept {
  if (!since_) since_ = began;
  last_ = now;
}

std::chrono::steady_clock::duration Silence::lasting(Time now) const noexcept {
  return since_ ? now - *since_ : std::chrono::steady_clock::duration::zero();
}

std::optional<Silence::Time> Silence::end_of(
    std::chrono::steady_clock::duration patience) const noexcept {
  return since_ ? std::optional{*since_ + patience} : std::nullopt;
}

bool is_time_to_listen(const Sight& sight, const Silence& silence,
                       std::chrono::steady_clock::duration patience, Silence::Time now) {
  if (sight.reach != Sight::Reach::vm || !sight.there || !sight.status.running) return false;
  if (std::ranges::find(halted_states, sight.status.qmp_status, &HaltedState::qmp_status) !=
      halted_states.end()) {
    return false;
  }
  return silence.misses() > 0 && silence.lasting(now) >= patience - listening_time &&
         !is_passing(sight.status);
}

std::optional<Error> cause_of_death(const Sight& sight, const Silence& silence,
                                    std::chrono::steady_clock::duration patience, Silence::Time now,
                                    const VmWords& vm) {
  const bool for_long =
      silence.lasting(now) >=
      (is_starved(sight) ? std::max<Duration>(patience, patience_with_the_starved) : patience);
  const auto how_long =
      fmt::format("silent for {} s",
                  std::chrono::duration_cast<std::chrono::seconds>(silence.lasting(now)).count());
  switch (sight.reach) {
    case Sight::Reach::vm:
      return cause_in_vm(sight, for_long && silence.misses() >= enough_looks, how_long, vm);
    case Sight::Reach::busy:
      return std::nullopt;
    case Sight::Reach::node_offline:
      return dead(vm.text + " is gone with its node, which is offline", "");
    case Sight::Reach::node_silent:
    case Sight::Reach::server_silent:
      break;
  }
  if (!for_long || silence.silent_looks() < enough_looks) return std::nullopt;
  const auto* const who = sight.reach == Sight::Reach::node_silent ? "node" : "server";
  return dead(
      fmt::format("the {} of {} does not answer ({}): {}", who, vm.text, how_long, sight.said),
      "Is it switched on, and can it be reached from here?");
}

}  // namespace px::guest
