#pragma once
#include "support/async.hpp"

#include <chrono>
#include <string>

namespace px::sandbox {

/// Whether an instance, or one of its nodes, can be given samples. One that failed is set aside,
/// and tried again after a pause that grows from 10 s to 10 min as long as it fails. No clock, no
/// log.
class Health {
 public:
  static constexpr std::chrono::seconds first_pause{10};
  static constexpr std::chrono::seconds longest_pause{600};

  /// Sets it aside. Failures of what began before the last one count as that one.
  void failed(SteadyTime began, SteadyTime now, std::string why);
  /// It answers again; the next failure still finds the pause grown, until a sample was well.
  void returned() { why_.clear(); }
  /// A sample came up there.
  void proved() { pause_ = first_pause; }

  bool is_well() const noexcept { return why_.empty(); }
  /// Set aside, and its time has come.
  bool is_due(SteadyTime now) const noexcept { return !is_well() && now >= until_; }
  /// Why it is set aside; empty when it is well.
  const std::string& why() const noexcept { return why_; }
  /// How long it stays so.
  std::chrono::seconds left(SteadyTime now) const noexcept;
  /// "set aside for 20 s more: unreachable"; empty when it is well.
  std::string text(SteadyTime now) const;

 private:
  std::string why_;
  SteadyTime failed_at_{};
  SteadyTime until_{};
  std::chrono::seconds pause_ = first_pause;
};

}  // namespace px::sandbox
