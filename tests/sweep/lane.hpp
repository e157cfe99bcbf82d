#pragma once
#include "node_under_test.hpp"
#include "sandbox/instances.hpp"
#include "support/async.hpp"
#include "sweep/host_guest.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace px::testing {

/// A node with a template, and the environment of a process that uses it. Most of a round's time
/// is waiting, so several lanes run side by side, each with a node of its own.
class Lane {
 public:
  explicit Lane(bool by_password);

  const sandbox::Environment& environment() const noexcept { return environment_; }
  asio::thread_pool& pool() noexcept { return pool_; }
  const HostGuest& guest() const noexcept { return *guest_; }
  /// What the core logged on this thread since arm(); what someone must act on begins with WARNING.
  static const std::vector<std::string>& log();

  /// Empty guests and counters; then `fault` (a form for /_control/faults) hits the n-th request.
  void arm(int n, const std::string& fault);
  /// How many requests there were since; no fault is armed any more.
  int disarm();

  /// Puts a medium on the node's storage, as a process that died in the middle leaves it.
  void leave_medium(const std::string& name) const;

  /// What is on the node besides templates, their disks, seeds, and a stranger's VM and network, a
  /// line for each thing; and a line when something of the stranger's is not.
  std::vector<std::string> leftovers() const;

 private:
  json::array list(const std::string& path) const;
  void add_networks(std::vector<std::string>& out) const;
  void add_records(std::vector<std::string>& out) const;
  void control(const std::string& path, const std::string& form) const;

  TemporaryDirectory directory_;
  std::shared_ptr<HostGuest> guest_;
  NodeUnderTest node_;
  asio::thread_pool pool_{1};
  sandbox::Environment environment_;
};

/// One round of a sweep: what was wrong with it, and the evidence.
struct Round {
  int n = 0;
  int requests = 0;
  std::string end;  ///< the error that it ended with; empty: it came through
  std::vector<std::string> mistakes;
  std::vector<std::string> log;
};

/// Rounds with n = 1, 2, ... up to the first that has fewer than n requests.
std::vector<Round> sweep(bool by_password, const std::function<Round(Lane&, int)>& round);

/// Lets gtest report the mistakes, each round's with its log. Returns how many requests failed.
int report(const std::vector<Round>& rounds);

/// Two VMs of the template.
extern const std::string two_vms;

}  // namespace px::testing
