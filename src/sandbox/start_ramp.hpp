#pragma once
#include <chrono>

namespace px::sandbox {

/// How many samples may start on a host at once. It begins with few, grows with each start that the
/// host carries out as quickly as its best ones, doubling at first, and falls by half when starts
/// take much longer or fail: clones wait for each other's locks, and a host that is flooded serves
/// nobody. No clock.
class StartRamp {
 public:
  static constexpr double at_first = 4;
  static constexpr double most = 64;

  bool may_start() const noexcept { return starting_ < static_cast<int>(allowed_); }
  int starting() const noexcept { return starting_; }
  int allowed() const noexcept { return static_cast<int>(allowed_); }

  void began() noexcept { ++starting_; }
  /// `took`: what the server did for it, without the guest's own boot.
  void ended_well(std::chrono::duration<double> took) noexcept;
  void failed() noexcept;
  /// Neither: cancelled.
  void ended() noexcept { --starting_; }

 private:
  void slow_down() noexcept;

  int starting_ = 0;
  double allowed_ = at_first;
  bool has_slowed_ = false;  ///< once: from then on it grows by one a round
  double best_ = 0;          ///< seconds; 0: none ended yet
  int since_slowed_ = 0;     ///< starts that ended
};

}  // namespace px::sandbox
