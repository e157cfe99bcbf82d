#pragma once
#include "node/vm/simulated_machine.hpp"

#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace px::testing {

/// Guests whose commands really run, in a shell on this machine: with the scripts of
/// src/guest/linux as the agent gets them, so that what is claimed of a lost launch is tried on
/// them and not on a copy of their rules. Each VM has a directory in place of its /swept and its
/// /run/.proxmox-sandbox, and sees the medium that its configuration on the node names.
class HostGuest : public node::SimulatedGuest {
 public:
  /// `node`: the node's state directory.
  explicit HostGuest(std::filesystem::path node) : node_{std::move(node)} {}

  /// From now on VMs are new ones, with their directories below `directory`, which is emptied.
  void begin(std::filesystem::path directory);

  /// Contents of a file below /swept, by the directory of each VM that has it.
  std::map<std::string, std::string> contents(const std::string& name) const;

  node::ExecAnswer run(node::SimulatedState& state, const std::vector<std::string>& argv,
                       const std::string& input) override;

 private:
  std::string here(std::string text, int vmid) const;
  std::filesystem::path medium_of(int vmid) const;

  const std::filesystem::path node_;
  mutable std::mutex mutex_;  // the test's thread and the node's
  std::filesystem::path directory_;
  int launches_ = 0;
};

}  // namespace px::testing
