#pragma once
#include "pve/ids.hpp"
#include "pve/sdn.hpp"
#include "support/async.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace px::network {

/// What a run is at with a server's networks, noted there before it does it: when its process dies,
/// the lock that it holds and a zone that has no VNet yet tell nobody whose they are.
struct ChangeNote {
  pve::sdn::LockToken token{};       ///< of the lock that it has, or had
  std::vector<pve::ZoneId> zones{};  ///< that it makes

  bool empty() const noexcept { return !token && zones.empty(); }
  /// The token or "-", and the zones: "0a1b-2c px001z px002z"; empty for nothing.
  std::string text() const;
  /// Of such a text; nothing where it is none.
  static ChangeNote of(std::string_view text);
};

/// Writes the note down. An empty one need not be there before it returns.
using TellNote = std::function<awaitable<void>(ChangeNote note)>;

}  // namespace px::network
