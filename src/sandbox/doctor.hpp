#pragma once
#include "pve/instance.hpp"
#include "support/async.hpp"

#include <string>
#include <vector>

namespace px::sandbox {

/// One thing that was looked at.
struct Finding {
  enum class State { fine, warning, bad };
  State state;
  std::string what;  ///< "login as root@pam"
  std::string said;  ///< what was found
  std::string fix;   ///< what to do; empty when fine
};

/// Says whether a server can be used: reachable, TLS, login, version, node, storages and their
/// content types, permissions. Changes nothing. Never throws for what it finds; stops at the first
/// thing without which the rest can't be looked at.
awaitable<std::vector<Finding>> examine(asio::thread_pool& pool, pve::Instance instance);

}  // namespace px::sandbox
