#pragma once
#include "node/host.hpp"
#include "node/state.hpp"
#include "node/storage/storages.hpp"
#include "node/vm/command_line.hpp"
#include "node/vm/disks.hpp"
#include "node/vm/machine.hpp"
#include "node/vm/simulated_machine.hpp"
#include "node/vm/vm_config.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace px::node {

/// One VM.
struct Vm {
  int id = 0;
  std::string node;  ///< where it is
  VmConfig config;
  std::unique_ptr<Machine> machine;
  /// PVE's lock on the file: whoever changes the VM holds it (pve-facts section 4).
  Semaphore lock{1};
  /// False once destroyed: who waited for the lock finds that it is gone.
  bool exists = true;

  bool is_template() const { return option_or(config.current, "template") == "1"; }
  /// The `lock:` of a long change, e.g. `clone`; empty = none.
  std::string config_lock() const { return option_or(config.current, "lock"); }
};
using VmPtr = std::shared_ptr<Vm>;

/// All VMs of the cluster by their ids: an id is given once in it.
class ClusterVms {
 public:
  const std::map<int, VmPtr>& all() const noexcept { return vms_; }
  /// nullptr when the id is free.
  VmPtr find(int vmid) const;
  void add(const VmPtr& vm) { vms_.emplace(vm->id, vm); }
  void remove(int vmid);
  /// Throws ApiError 500 "unable to get any free VMID".
  int lowest_free();

 private:
  std::map<int, VmPtr> vms_;
  int all_taken_below_ = 100;  ///< the first id there is
};

/// What the VMs of a node are made of: QEMU or a simulation.
struct VmHardware {
  /// Makes the machine of a VM; takes over what runs already.
  std::function<std::unique_ptr<Machine>(int vmid)> make_machine;
  std::shared_ptr<Disks> disks;
  std::string version;  ///< of QEMU
  AgentLimits agent_limits{};
  int cores = 0;            ///< of the node
  std::int64_t memory = 0;  ///< bytes of a simulated node; 0 = what this machine has
};
VmHardware qemu_machines(asio::any_io_executor executor, const QemuHost& host);
VmHardware simulated_machines(const Simulation& simulation);

/// The VMs of one node: their configurations in the state directory, their machines, their locks.
class Vms {
 public:
  /// Loads what an earlier node left: running machines are taken over, and the `lock` of a change
  /// that died with that node is dropped, so that what it left can be destroyed by its owner.
  Vms(State& state, Storages& storages, ClusterVms& cluster, std::string node, VmHardware hardware);

  /// Once after the start: asks taken-over machines for their state.
  awaitable<void> refresh();
  /// The node's end: pulls all plugs, one after the other. Sandboxes are throwaway.
  awaitable<void> stop_all();

  const std::map<int, VmPtr>& all() const noexcept { return vms_; }
  bool has(int vmid) const { return vms_.contains(vmid); }
  /// Throws ApiError 500 "Configuration file 'nodes/N/qemu-server/ID.conf' does not exist".
  VmPtr at(int vmid) const;
  VmPtr of(const Call& call) const { return at(static_cast<int>(call.number("vmid"))); }

  /// A new VM with these options, saved. The id must be free in the cluster.
  VmPtr add(int vmid, Options options);
  void save(const Vm& vm) const;
  /// Forgets the VM and removes its configuration and all files in its image folders.
  void remove(Vm& vm);
  /// Makes it a VM of another node. Its volumes must be on shared storages.
  void move(Vm& vm, Vms& to);
  /// Removes all files in the VM's image folders.
  void remove_disks(const Vm& vm) const;

  /// Waits for the VM's lock; throws ApiError 500 "can't lock file '...' - got timeout" after
  /// `limit`, or that the VM is gone.
  awaitable<Semaphore::Permit> lock(VmPtr vm,
                                    std::chrono::milliseconds limit = std::chrono::seconds{
                                        10}) const;
  /// Throws ApiError 500 "VM is locked (clone)".
  static void check_config_lock(const Vm& vm);

  /// Where the volumes of these options lie. Throws ApiError 500 for one that is not there.
  MachineSetup setup(const Options& options) const;

  /// An entry of GET /nodes/N/qemu; `full` adds qmpstatus.
  json::object summary(Vm& vm, bool full) const;

  const std::string& node() const noexcept { return node_; }
  ClusterVms& cluster() const noexcept { return cluster_; }
  /// Of the node. What a simulated one uses follows from its running VMs.
  NodeMemory memory() const;
  int cores() const noexcept { return hardware_.cores; }
  /// How busy the cores are, 0..1; those of a simulated node never.
  double load() const { return hardware_.memory == 0 ? host_load() : 0; }
  Storages& storages() const noexcept { return storages_; }
  const std::string& qemu_version() const noexcept { return hardware_.version; }
  /// Of a volume that is there, as `size=` shows it.
  std::string file_size(const std::string& volume) const;
  Disks& disks() const noexcept { return *hardware_.disks; }
  const AgentLimits& agent_limits() const noexcept { return hardware_.agent_limits; }

 private:
  void load(int vmid, const std::string& text);

  State& state_;
  Storages& storages_;
  ClusterVms& cluster_;
  std::string node_;
  VmHardware hardware_;
  std::map<int, VmPtr> vms_;
};

/// Fresh values for what must differ between VMs.
std::string new_uuid();
/// In Proxmox's range BC:24:11.
std::string new_mac();
/// A NIC's text with a new MAC.
std::string with_new_mac(const std::string& nic);

}  // namespace px::node
