#pragma once
#include "sandbox/instances.hpp"
#include "support/async.hpp"
#include "sweep/host_guest.hpp"
#include "sweep/rounds.hpp"
#include "sweep/swept_node.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace px::testing {

/// A node with a template, and the environment of a process that uses it.
class Lane {
 public:
  explicit Lane(bool by_password);

  const sandbox::Environment& environment() const noexcept { return environment_; }
  asio::thread_pool& pool() noexcept { return pool_; }
  const HostGuest& guest() const noexcept { return *guest_; }

  /// Empty guests and counters; then `fault` (a form for /_control/faults) hits the n-th request.
  void arm(int n, const std::string& fault);
  /// How many requests there were since; no fault is armed any more.
  int disarm() { return node_.disarm(); }

  /// Puts a medium on the node's storage, as a process that died in the middle leaves it.
  void leave_medium(const std::string& name) const;

  std::vector<std::string> leftovers() const { return node_.leftovers(); }

 private:
  TemporaryDirectory directory_;
  std::shared_ptr<HostGuest> guest_;
  SweptNode node_;
  asio::thread_pool pool_{1};
  sandbox::Environment environment_;
};

/// A sweep with such lanes.
std::vector<Round> sweep(bool by_password, const std::function<Round(Lane&, int)>& round);

/// Two VMs of the template.
extern const std::string two_vms;

}  // namespace px::testing
