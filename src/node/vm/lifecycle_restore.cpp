// The half of LifecycleRoutes that makes a VM of a backup: POST /nodes/N/qemu with `archive`.
#include "node/backup/vm_restore.hpp"
#include "node/vm/lifecycle_routes.hpp"
#include "node/vm/vm_options.hpp"

namespace px::node {

namespace {

/// The archive's file. Throws ApiError 500.
std::filesystem::path archive_file(const Storages& storages, const Call& call) {
  const auto& archive = call.text("archive");
  std::error_code error;
  if (archive.find(':') == std::string::npos) {
    if (!ImportOptions::of(call).any_path) {
      throw ApiError{500, "Only root can pass arbitrary filesystem paths."};
    }
    if (!std::filesystem::is_regular_file(archive, error)) {
      throw ApiError{500, fmt::format("can't find file '{}'", archive)};
    }
    return archive;
  }
  const auto volume = storages.resolve(archive);
  if (volume.content != "backup") {
    throw ApiError{
        500, fmt::format("unable to use volume {} - content type needs to be 'backup'", archive)};
  }
  return storages.existing(archive).path;
}

}  // namespace

/// What can be refused at once; the VM to restore into, new or (with `force`) the old one.
VmPtr LifecycleRoutes::restore_target(const Call& call, int vmid) const {
  const auto refusal = fmt::format("unable to restore VM {} - ", vmid);
  VmPtr vm = services_.vms.cluster().find(vmid);
  if (!vm) return services_.vms.add(vmid, {{"lock", "create"}});
  if (!call.flag("force") || vm->node != services_.vms.node()) {
    throw ApiError{500,
                   fmt::format("{}VM {} already exists on node '{}'", refusal, vmid, vm->node)};
  }
  if (const auto lock = vm->config_lock(); !lock.empty()) {
    throw ApiError{500, fmt::format("{}VM is locked ({})", refusal, lock)};
  }
  if (option_or(vm->config.current, "protection") == "1") {
    throw ApiError{500, refusal + "protection mode enabled"};
  }
  if (vm->machine->status().running) throw ApiError{500, refusal + "vm is running"};
  vm->config.current["lock"] = "create";
  services_.vms.save(*vm);
  return vm;
}

awaitable<json::value> LifecycleRoutes::restore(Call& call) {
  const int vmid = static_cast<int>(call.number("vmid"));
  RestoreRequest request{.archive = {},
                         .storage = call.text_or("storage", ""),
                         .unique = call.flag("unique"),
                         .overrides = options_of(call, {})};
  for (const auto& [name, value] : request.overrides) {
    if (is_drive_option(name)) {
      throw ApiError::parameter(name, "option conflicts with option 'archive'");
    }
  }
  if (!request.storage.empty()) services_.vms.storages().get(request.storage);
  request.archive = archive_file(services_.vms.storages(), call);
  const std::string pool = call.text_or("pool", "");
  if (!pool.empty()) services_.cluster.check_pool(pool);
  const bool replaces = services_.vms.has(vmid);
  const VmPtr vm = restore_target(call, vmid);
  if (!pool.empty()) services_.cluster.join(pool, vmid);
  co_return services_.start_locked(
      "qmrestore", vm, call.user, true,
      [self = shared_from_this(), request = std::move(request), replaces,
       start = call.flag("start")](VmPtr made, TaskLog& log) -> awaitable<void> {
        VmRestore work{self->services_, request};
        if (replaces) {
          co_await self->clear_for_restore(made, work, log);
          co_await self->or_remove(made, self->finish_restore(made, work, log), "");
        } else {
          co_await self->or_remove(made, self->look_and_restore(made, work, log), "");
        }
        if (start) co_await self->services_.power_on(made, log);
      });
}

awaitable<void> LifecycleRoutes::look_and_restore(VmPtr vm, VmRestore& work, TaskLog& log) {
  co_await work.look(log);
  co_await finish_restore(vm, work, log);
}

awaitable<void> LifecycleRoutes::finish_restore(VmPtr vm, VmRestore& work, TaskLog& log) {
  co_await work.make(vm, log);
  join_networks(*vm, log);
}

/// The old VM goes only when the archive can be read; before, it is as it was.
awaitable<void> LifecycleRoutes::clear_for_restore(VmPtr vm, VmRestore& work, TaskLog& log) {
  std::exception_ptr failure;
  try {
    co_await work.look(log);
    check_unused_base(*vm);
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    vm->config.current.erase("lock");
    services_.vms.save(*vm);
    std::rethrow_exception(failure);
  }
  co_await services_.networks.forget(vm->id);
  services_.sdn.leave_all(vm->config.current);
  services_.vms.remove_disks(*vm);
}

}  // namespace px::node
