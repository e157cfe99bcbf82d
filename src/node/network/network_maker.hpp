#pragma once
#include "node/network/sdn.hpp"
#include "node/vm/machine.hpp"

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
  /// Puts a NIC of a running VM on another bridge.
  virtual awaitable<void> move(int vmid, pid_t machine, std::string nic, NicPlace place) = 0;
};

/// Networks of simulated machines: there as soon as they are asked for.
class SimulatedNetworks : public NetworkMaker {
 public:
  awaitable<void> apply() override { co_return; }
  std::string problem(const std::string&) const override { return {}; }
  awaitable<void> attach(int, MachineSetup&) override { co_return; }
  awaitable<void> plug(int, pid_t, std::string, MachineSetup&) override { co_return; }
  awaitable<void> unplug(int, std::string) override { co_return; }
  awaitable<void> move(int, pid_t, std::string, NicPlace) override { co_return; }
};

}  // namespace px::node
