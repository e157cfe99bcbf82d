#pragma once
#include "node/network/sdn.hpp"
#include "node/vm/machine.hpp"

#include <optional>
#include <string>

namespace px::node {

/// Makes the applied networks real, and ties VMs to them.
class NetworkMaker {
 public:
  virtual ~NetworkMaker() = default;
  /// After it the networks are those that the configuration says run. Throws Error with the reason.
  virtual awaitable<void> apply() = 0;
  /// Why a VNet is not as it should be; empty when it is.
  virtual std::string problem(const std::string& vnet) const = 0;

  /// A VM is about to start: makes the ends of its NICs, and says in `setup` where they are. Throws
  /// Error when one of its networks is not there.
  virtual awaitable<void> attach(int vmid, MachineSetup& setup) = 0;
  /// The same for one NIC that is plugged into a VM that runs as the process `machine`.
  virtual awaitable<void> plug(int vmid, pid_t machine, std::string nic, MachineSetup& setup) = 0;
  virtual awaitable<void> unplug(int vmid, std::string nic) = 0;
  /// A NIC of a running VM has another option now: another bridge, or `firewall` on or off.
  virtual awaitable<void> move(int vmid, pid_t machine, std::string nic, std::string option) = 0;
  /// The firewall's configuration has changed: of one VM, or such that it concerns all. After it
  /// their NICs are filtered by what it says now. Throws Error with the reason.
  virtual awaitable<void> filter(std::optional<int> vmid) = 0;
  /// A VM was destroyed: nothing is left of its NICs.
  virtual awaitable<void> forget(int vmid) = 0;
};

/// Networks of simulated machines: there as soon as they are asked for.
class SimulatedNetworks : public NetworkMaker {
 public:
  awaitable<void> apply() override { co_return; }
  std::string problem(const std::string&) const override { return {}; }
  awaitable<void> attach(int, MachineSetup&) override { co_return; }
  awaitable<void> plug(int, pid_t, std::string, MachineSetup&) override { co_return; }
  awaitable<void> unplug(int, std::string) override { co_return; }
  awaitable<void> move(int, pid_t, std::string, std::string) override { co_return; }
  awaitable<void> filter(std::optional<int>) override { co_return; }
  awaitable<void> forget(int) override { co_return; }
};

}  // namespace px::node
