#pragma once
#include "node/vm/cloud_init_drive.hpp"
#include "node/vm/volumes.hpp"

namespace px::node {

class VmRestore;

/// How VMs come and go: the list, create, restore, clone, template, destroy.
/// Source: qemu-server API2/Qemu.pm; exchanges 04 and 10.
///
/// A VM's id is taken before its task starts, with a `lock` until the task has done; what a failed
/// task made is removed with it.
class LifecycleRoutes : public std::enable_shared_from_this<LifecycleRoutes> {
 public:
  explicit LifecycleRoutes(VmServices services) : services_{services}, volumes_{services_} {}
  void add_routes(Router& router);

 private:
  struct CloneRequest;

  awaitable<json::value> list(Call& call);
  awaitable<json::value> index(Call& call);
  awaitable<json::value> create(Call& call);
  awaitable<json::value> restore(Call& call);
  awaitable<json::value> clone(Call& call);
  awaitable<json::value> make_template(Call& call);
  awaitable<json::value> destroy(Call& call);

  /// Runs `work`; when it fails or is stopped, removes what there is of the VM. A failure is told
  /// as `refusal` and its own text.
  awaitable<void> or_remove(VmPtr half_made, awaitable<void> work, std::string refusal);
  awaitable<void> build(VmPtr vm, Options options, ImportOptions imports, TaskLog& log);
  VmPtr restore_target(const Call& call, int vmid) const;
  awaitable<void> look_and_restore(VmPtr vm, VmRestore& work, TaskLog& log);
  awaitable<void> finish_restore(VmPtr vm, VmRestore& work, TaskLog& log);
  awaitable<void> clear_for_restore(VmPtr vm, VmRestore& work, TaskLog& log);
  awaitable<void> copy_disks(VmPtr source, VmPtr target, CloneRequest request, TaskLog& log);
  Vms& target_of(const Call& call) const;
  void check_shared(const Vm& source, const Vms& home) const;
  json::value refuse_clone_id(const Vm& there, const Vm& source, const std::string& user) const;
  void check_linkable(const Vm& source) const;
  /// Makes the VM's disks bases and marks it.
  void turn_into_template(Vm& vm) const;
  void join_networks(const Vm& vm, TaskLog& log);
  void check_unused_base(const Vm& vm) const;
  Options clone_options(const Vm& source, const CloneRequest& request) const;

  VmServices services_;
  Volumes volumes_;
};

}  // namespace px::node
