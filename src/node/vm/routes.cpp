#include "node/vm/routes.hpp"

#include "node/vm/agent_routes.hpp"
#include "node/vm/cloud_init_drive.hpp"
#include "node/vm/cloud_init_routes.hpp"
#include "node/vm/config_routes.hpp"
#include "node/vm/console_routes.hpp"
#include "node/vm/lifecycle_routes.hpp"
#include "node/vm/nics.hpp"
#include "node/vm/power_routes.hpp"
#include "node/vm/snapshot_routes.hpp"

namespace px::node {

namespace {

awaitable<void> run_locked(Vms& vms, VmPtr vm, bool skip_lock, VmServices::Work work,
                           TaskLog& log) {
  const auto permit = co_await vms.lock(vm);
  if (!skip_lock) Vms::check_config_lock(*vm);
  co_await work(vm, log);
}

}  // namespace

std::string VmServices::start_locked(std::string type, VmPtr vm, const std::string& user,
                                     bool skip_lock, Work work) const {
  return tasks.start(std::move(type), std::to_string(vm->id), user,
                     [&vms = vms, vm, skip_lock, work = std::move(work)](TaskLog& log) {
                       return run_locked(vms, vm, skip_lock, work, log);
                     });
}

awaitable<void> VmServices::power_on(VmPtr vm, TaskLog& log, std::string load_snapshot) const {
  if (vm->is_template()) throw ApiError{500, "you can't start a vm if it's a template"};
  if (vm->machine->status().running) {
    throw ApiError{500, fmt::format("VM {} already running", vm->id)};
  }
  if (vm->config.has_pending()) {
    const Options before = vm->config.current;
    apply_pending(*vm, log);
    co_await CloudInitDrive{*this}.drop_unused(vm, before);
  }
  co_await CloudInitDrive{*this}.generate(vm);
  MachineSetup setup = vms.setup(with_pending_nics(vm->config));
  try {
    confirm_nics(sdn, vm->id, setup.options);
  } catch (const ApiError& error) {
    // A missing bridge is told as it is, the rest by QEMU's network script (exchanges 04 and 26).
    if (error.message.starts_with("bridge ")) throw;
    log.line(error.message);
    throw ApiError{500, "start failed: QEMU exited with code 1"};
  }
  setup.load_snapshot = std::move(load_snapshot);
  try {
    co_await networks.attach(vm->id, setup);
    co_await vm->machine->start(setup);
  } catch (const Error& error) {
    for (const auto& line : error.task_log) log.line(line);
    throw;
  }
}

void VmServices::apply_pending(Vm& vm, TaskLog& log) const {
  const Options before = vm.config.current;
  vm.config.current = vm.config.after_pending();
  vm.config.drop_pending();
  for (const auto& [name, failure] : rebook_nics(sdn, vm.id, before, vm.config)) {
    log.line(failure);
  }
  vms.save(vm);
}

bool VmServices::skip_lock(const Call& call) {
  if (call.has("skiplock") && call.user != "root@pam") {
    throw ApiError::parameter("skiplock", "Only root may use this option.");
  }
  return call.flag("skiplock");
}

void add_vm_routes(Router& router, const VmServices& services) {
  std::make_shared<LifecycleRoutes>(services)->add_routes(router);
  std::make_shared<ConfigRoutes>(services)->add_routes(router);
  std::make_shared<PowerRoutes>(services)->add_routes(router);
  std::make_shared<SnapshotRoutes>(services)->add_routes(router);
  std::make_shared<AgentRoutes>(services)->add_routes(router);
  std::make_shared<CloudInitRoutes>(services)->add_routes(router);
  std::make_shared<ConsoleRoutes>(services)->add_routes(router);
}

}  // namespace px::node
