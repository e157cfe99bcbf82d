#pragma once
#include "pve/client.hpp"
#include "pve/instance.hpp"
#include "support/async.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace px::sandbox {

/// A change of the server that puts a finding right. Only people decide on it.
struct Repair {
  std::string change;                     ///< exactly what is sent
  std::vector<std::string> consequences;  ///< what else it does, and to whom
  std::function<awaitable<void>(pve::Client&)> carry_out;
};

/// One thing that was looked at.
struct Finding {
  enum class State { fine, warning, bad };
  State state;
  std::string what;  ///< "login as root@pam"
  std::string said;  ///< what was found
  std::string fix;   ///< what to do; empty when fine
  std::optional<Repair> repair{};
};

/// Says whether a server can be used: reachable, TLS, login, version, node, storages and their
/// content types, permissions, networks (SDN, DHCP, firewall). Changes nothing. Never throws for
/// what it finds; stops at the first thing without which the rest can't be looked at.
awaitable<std::vector<Finding>> examine(asio::thread_pool& pool, pve::Instance instance);

/// The part of it that looks at networks, on a server that answers and whose node is there.
awaitable<std::vector<Finding>> examine_networks(pve::Client& client);

}  // namespace px::sandbox
