#pragma once
#include "pve/client.hpp"
#include "pve/firewall.hpp"
#include "pve/ids.hpp"
#include "pve/instance.hpp"
#include "support/async.hpp"

#include <functional>
#include <map>
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

/// Whom the datacenter's firewall meets when it is switched on.
struct FirewallReach {
  pve::firewall::Dormant dormant{};
  std::map<pve::NodeName, std::vector<std::string>> armed{};  ///< "VM 100 (web)"
  std::vector<pve::NodeName> offline{};
};
/// What switching it on does, a sentence each, for the person who decides. Pure.
std::vector<std::string> consequences_of(const FirewallReach& reach);

/// The part of it that looks at networks, on a server that answers and whose node is there.
awaitable<std::vector<Finding>> examine_networks(pve::Client& client);

}  // namespace px::sandbox
