#pragma once
#include "node_under_test.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace px::testing {

/// A node for sweeps, with a stranger's things on it, each named like ours where that is possible.
class SweptNode {
 public:
  SweptNode(const std::filesystem::path& directory, const std::string& name,
            std::shared_ptr<node::SimulatedGuest> guest);

  const NodeUnderTest& node() const noexcept { return node_; }

  /// What is there now belongs there.
  void settle();

  /// Counts from zero; then `fault` (a form for /_control/faults) hits the n-th request.
  void arm(int n, const std::string& fault);
  /// The same with `call`, made on the node's thread before the request is carried out.
  void arm(int n, std::function<void()> call);
  /// How many requests there were since; no fault is armed any more.
  int disarm();

  /// What is on the node besides what was there at settle(), templates with their disks, and seeds;
  /// and what is not there any more. A line for each thing.
  std::vector<std::string> leftovers() const;

 private:
  enum class Kind { must_stay, may_be_new };
  /// A thing's description, and whether more of its kind may come.
  using Things = std::map<std::string, Kind>;

  Things things() const;
  void add_lock_and_tasks(RawClient& client, Things& out) const;
  void add_vms(RawClient& client, Things& out) const;
  void add_networks(RawClient& client, Things& out) const;
  json::array list(RawClient& client, const std::string& path, const std::string& query = {}) const;
  void control(const std::string& path, const std::string& form) const;

  std::string name_;
  NodeUnderTest node_;
  Things settled_;
};

}  // namespace px::testing
