#include "node/vm/lifecycle_routes.hpp"

#include "node/vm/cloud_init.hpp"
#include "node/vm/vm_options.hpp"

#include <algorithm>
#include <array>

namespace px::node {

namespace {

using namespace std::chrono_literals;

/// How long a clone waits for its source, when that is no template.
constexpr auto clone_source_limit = 1s;

std::vector<Param> with_options(std::vector<Param> own) {
  own.insert(own.end(), vm_option_params().begin(), vm_option_params().end());
  return own;
}

std::string unix_time() {
  return std::to_string(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()));
}

/// A clone differs from its source in what must be unique.
void renew_identity(Options& options) {
  Properties smbios{option_or(options, "smbios1")};
  smbios.set("uuid", new_uuid());
  options["smbios1"] = smbios.print();
  if (option_or(options, "vmgenid") != "0") options["vmgenid"] = new_uuid();
  for (auto& [name, value] : options) {
    if (is_nic_option(name)) value = with_new_mac(value);
  }
}

}  // namespace

struct LifecycleRoutes::CloneRequest {
  std::string name;
  std::optional<std::string> description;
  std::string storage;
  std::string format;
  bool full = false;
  Vms* home = nullptr;  ///< where the clone goes in the end
};

void LifecycleRoutes::add_routes(Router& router) {
  using enum ParamType;
  const auto self = shared_from_this();
  const Param newid{
      .name = "newid", .type = integer, .required = true, .minimum = 100, .maximum = 999'999'999};
  const Param vmid{
      .name = "vmid", .type = integer, .required = true, .minimum = 100, .maximum = 999'999'999};
  add_vm_route(router, self, "GET", "", {{.name = "full", .type = boolean}},
               &LifecycleRoutes::list);
  add_vm_route(router, self, "POST", "",
               with_options({vmid,
                             {.name = "pool"},
                             {.name = "start", .type = boolean},
                             {.name = "import-working-storage", .format = "pve-storage-id"},
                             {.name = "archive", .max_length = 255},
                             {.name = "force", .type = boolean, .needs = "archive"},
                             {.name = "storage", .format = "pve-storage-id"},
                             {.name = "unique", .type = boolean, .needs = "archive"}}),
               &LifecycleRoutes::create);
  add_vm_route(router, self, "GET", "/{vmid}", {}, &LifecycleRoutes::index, false);
  add_vm_route(router, self, "DELETE", "/{vmid}",
               {{.name = "purge", .type = boolean},
                {.name = "destroy-unreferenced-disks", .type = boolean},
                {.name = "skiplock", .type = boolean}},
               &LifecycleRoutes::destroy);
  add_vm_route(router, self, "POST", "/{vmid}/clone",
               {newid,
                {.name = "name"},
                {.name = "description"},
                {.name = "full", .type = boolean},
                {.name = "format", .one_of = {"raw", "qcow2", "vmdk"}},
                {.name = "pool"},
                {.name = "snapname", .max_length = 40},
                {.name = "storage"},
                {.name = "target"}},
               &LifecycleRoutes::clone);
  add_vm_route(router, self, "POST", "/{vmid}/template", {}, &LifecycleRoutes::make_template);
}

awaitable<json::value> LifecycleRoutes::list(Call& call) {
  json::array out;
  for (const auto& [vmid, vm] : services_.vms.all()) {
    out.push_back(services_.vms.summary(*vm, call.flag("full")));
  }
  co_return out;
}

awaitable<json::value> LifecycleRoutes::index(Call& call) {
  services_.vms.of(call);
  json::array out;
  for (const auto* name : {"config", "cloudinit", "pending", "status", "unlink", "resize", "agent",
                           "snapshot", "firewall"}) {
    out.push_back(json::object{{"subdir", name}});
  }
  co_return out;
}

awaitable<json::value> LifecycleRoutes::create(Call& call) {
  if (call.has("archive")) co_return co_await restore(call);
  const int vmid = static_cast<int>(call.number("vmid"));
  Options options = options_of(call, {});
  const ImportOptions imports = ImportOptions::of(call);
  for (const auto& drive : drives_of(options)) volumes_.check(drive, imports);
  const std::string pool = call.text_or("pool", "");
  if (!pool.empty()) services_.cluster.check_pool(pool);
  if (const VmPtr there = services_.vms.cluster().find(vmid)) {
    throw ApiError{500, fmt::format("unable to create VM {} - VM {} already exists on node '{}'",
                                    vmid, vmid, there->node)};
  }
  options.emplace("smbios1", "uuid=" + new_uuid());
  options.emplace("vmgenid", new_uuid());
  options.emplace("memory", "512");
  options["meta"] =
      fmt::format("creation-qemu={},ctime={}", services_.vms.qemu_version(), unix_time());
  const VmPtr vm = services_.vms.add(vmid, {{"lock", "create"}});
  if (!pool.empty()) services_.cluster.join(pool, vmid);
  co_return services_.start_locked(
      "qmcreate", vm, call.user, true,
      [self = shared_from_this(), options = std::move(options), imports,
       start = call.flag("start")](VmPtr made, TaskLog& log) -> awaitable<void> {
        co_await self->or_remove(made, self->build(made, options, imports, log),
                                 fmt::format("unable to create VM {} - ", made->id));
        if (start) co_await self->services_.power_on(made, log);
      });
}

awaitable<void> LifecycleRoutes::or_remove(VmPtr half_made, awaitable<void> work,
                                           std::string refusal) {
  std::string failure;
  std::exception_ptr cancelled;
  try {
    co_await std::move(work);
    co_return;
  } catch (const Error& error) {
    failure = error.said;
  } catch (const ApiError& error) {
    failure = error.message;
  } catch (...) {
    cancelled = std::current_exception();
  }
  services_.cluster.leave(half_made->id);
  services_.sdn.leave_all(half_made->config.current);
  services_.firewall.remove_vm(half_made->id);
  services_.vms.remove(*half_made);
  if (cancelled) std::rethrow_exception(cancelled);
  throw ApiError{500, refusal + failure};
}

awaitable<void> LifecycleRoutes::build(VmPtr vm, Options options, ImportOptions imports,
                                       TaskLog& log) {
  CloudInitDrive::check_single(vm->id, {}, options);
  for (auto drive : drives_of(options)) {
    co_await volumes_.make(vm->id, drive, imports, log);
    if (drive.is_cdrom() && !drive.is_empty() && !is_cloud_init_drive(vm->id, drive) &&
        !drive.properties.has("size")) {
      drive.properties.set("size", services_.vms.file_size(drive.volume));
    }
    options[drive.name] = drive.print();
  }
  vm->config.current = std::move(options);
  CloudInitDrive::note(*vm);
  services_.vms.save(*vm);
  if (vm->is_template()) turn_into_template(*vm);
  join_networks(*vm, log);
}

/// A clone or a new VM that gets no address is made all the same (exchange 25).
void LifecycleRoutes::join_networks(const Vm& vm, TaskLog& log) {
  services_.sdn.join_all(vm.config.current, vm.id,
                         [&log](std::string text) { log.line(std::move(text)); });
}

void LifecycleRoutes::check_linkable(const Vm& source) const {
  for (const auto& drive : drives_of(source.config.current)) {
    // A TPM's state is copied all the same: swtpm knows no images that have a base.
    if (drive.is_cdrom() || drive.bus() == "tpmstate" || Volumes::is_base(drive.volume)) continue;
    throw ApiError{500, fmt::format("Linked clone feature is not supported for '{}' ({})",
                                    drive.volume, drive.name)};
  }
}

Options LifecycleRoutes::clone_options(const Vm& source, const CloneRequest& request) const {
  Options options = source.config.current;
  for (const auto* name : {"lock", "template", "parent", "snaptime", "vmstate"}) {
    options.erase(name);
  }
  std::erase_if(options, [](const auto& option) { return option.first.starts_with("unused"); });
  options["name"] = !request.name.empty()
                        ? request.name
                        : fmt::format("Copy-of-VM-{}", option_or(options, "name"));
  // Without one, the source's notes are not copied.
  options.erase("description");
  if (request.description) options["description"] = *request.description;
  renew_identity(options);
  return options;
}

Vms& LifecycleRoutes::target_of(const Call& call) const {
  const std::string target = call.text_or("target", "localhost");
  if (target == "localhost" || target == services_.vms.node()) return services_.vms;
  return services_.cluster.at(target).vms;
}

/// Only what all nodes see can be the disks of a VM on another node (qemu-server API2/Qemu.pm,
/// check_storage_access_clone).
void LifecycleRoutes::check_shared(const Vm& source, const Vms& home) const {
  for (const auto& drive : drives_of(source.config.current)) {
    if (drive.is_empty() || services_.vms.storages().is_shared(drive.volume)) continue;
    throw ApiError{500,
                   fmt::format("can't clone VM to node '{}' (VM uses local storage)", home.node())};
  }
}

/// The id is that of a VM. The early check sees the own node's files only: with another node's VM
/// it is the first write of the new configuration that fails (API2/Qemu.pm, clone_vm, and pmxcfs).
json::value LifecycleRoutes::refuse_clone_id(const Vm& there, const Vm& source,
                                             const std::string& user) const {
  if (there.node == services_.vms.node()) {
    throw ApiError{500,
                   fmt::format("unable to create VM {}: config file already exists", there.id)};
  }
  const auto text = fmt::format(
      "close (rename) atomic file '/etc/pve/nodes/{}/qemu-server/{}.conf' failed: File exists",
      services_.vms.node(), there.id);
  return json::value(services_.tasks.start("qmclone", std::to_string(source.id), user,
                                           [text](TaskLog&) -> awaitable<void> {
                                             throw ApiError{500, text};
                                             co_return;
                                           }));
}

awaitable<json::value> LifecycleRoutes::clone(Call& call) {
  const int source_id = static_cast<int>(call.number("vmid"));
  const int target_id = static_cast<int>(call.number("newid"));
  CloneRequest request;
  if (call.has("name")) request.name = normalise_option("name", call.text("name"));
  request.storage = call.text_or("storage", "");
  request.format = call.text_or("format", "");
  if (call.has("description")) request.description = call.text("description");
  const std::string pool = call.text_or("pool", "");
  if (!pool.empty()) services_.cluster.check_pool(pool);
  if (!services_.vms.has(source_id)) {
    throw ApiError{500, fmt::format("unable to find configuration file for VM {} on node '{}'",
                                    source_id, services_.vms.node())};
  }
  const VmPtr source = services_.vms.at(source_id);
  request.home = &target_of(call);
  if (!request.storage.empty()) {
    const Storage& storage = services_.vms.storages().get(request.storage);
    if (request.home != &services_.vms && !storage.shared) {
      throw ApiError{500, fmt::format("can't clone to non-shared storage '{}'", storage.id)};
    }
  }
  Vms::check_config_lock(*source);
  if (call.has("snapname")) {
    if (!source->config.snapshots.contains(call.text("snapname"))) {
      throw ApiError{500, fmt::format("snapshot '{}' does not exist", call.text("snapname"))};
    }
    throw ApiError{501, "the local node does not clone from a snapshot"};
  }
  request.full = call.flag("full", !source->is_template());
  if (!request.full) {
    for (const auto* name : {"storage", "format"}) {
      if (call.has(name)) {
        throw ApiError{500, fmt::format("parameter '{}' not allowed for linked clones", name)};
      }
    }
  }
  if (request.home != &services_.vms) check_shared(*source, *request.home);
  if (!request.full) {
    check_linkable(*source);
  } else if (source->machine->status().running) {
    throw ApiError{501, "the local node does not copy the disks of a running VM"};
  }
  if (const VmPtr there = services_.vms.cluster().find(target_id)) {
    co_return refuse_clone_id(*there, *source, call.user);
  }
  // The marks of its owner are there from the first moment on.
  Options newborn{{"lock", "clone"}};
  if (request.description) newborn["description"] = *request.description;
  if (!request.name.empty()) newborn["name"] = request.name;
  const VmPtr target = services_.vms.add(target_id, std::move(newborn));
  if (!pool.empty()) services_.cluster.join(pool, target_id);
  co_return services_.tasks.start(
      "qmclone", std::to_string(source_id), call.user,
      [self = shared_from_this(), source, target, request](TaskLog& log) {
        return self->or_remove(target, self->copy_disks(source, target, request, log),
                               "clone failed: ");
      });
}

awaitable<void> LifecycleRoutes::copy_disks(VmPtr source, VmPtr target, CloneRequest request,
                                            TaskLog& log) {
  const auto own_lock = co_await services_.vms.lock(target, clone_source_limit);
  Semaphore::Permit source_lock;
  // Clones of one template go side by side: nobody changes its disks.
  if (!source->is_template()) {
    source_lock = co_await services_.vms.lock(source, clone_source_limit);
  }
  log.line(fmt::format("creating a clone of VM {} with ID {}", source->id, target->id));
  // qemu-server API2/Qemu.pm, clone_vm: clone_vmfw_conf before the disks.
  services_.firewall.copy_vm(source->id, target->id);
  Options options = clone_options(*source, request);
  for (auto drive : drives_of(options)) {
    if (is_cloud_init_drive(source->id, drive)) {
      log.line(fmt::format("create full clone of drive {} ({})", drive.name, drive.volume));
      const std::string storage = drive.volume.substr(0, drive.volume.find(':'));
      volumes_.reserve_cloud_init(target->id, drive,
                                  request.storage.empty() ? storage : request.storage);
      options[drive.name] = drive.print();
    }
    if (drive.is_cdrom()) continue;
    if (request.full || drive.bus() == "tpmstate") {
      co_await volumes_.copy(target->id, drive, request.storage,
                             drive.is_state() ? "" : request.format, log);
    } else {
      co_await volumes_.link(target->id, drive, log);
    }
    options[drive.name] = drive.print();
  }
  target->config.current = std::move(options);
  CloudInitDrive::note(*target);
  services_.vms.save(*target);
  join_networks(*target, log);
  if (request.home != &services_.vms) services_.vms.move(*target, *request.home);
}

awaitable<json::value> LifecycleRoutes::make_template(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  Vms::check_config_lock(*vm);
  if (!vm->config.snapshots.empty()) {
    throw ApiError{500, "unable to create template, because VM contains snapshots"};
  }
  if (vm->is_template()) throw ApiError{500, "you can't convert a template to a template"};
  if (vm->machine->status().running) {
    throw ApiError{500, "you can't convert a VM to template if VM is running"};
  }
  co_return services_.start_locked(
      "qmtemplate", vm, call.user, false,
      [self = shared_from_this()](VmPtr made, TaskLog&) -> awaitable<void> {
        self->turn_into_template(*made);
        co_return;
      });
}

void LifecycleRoutes::turn_into_template(Vm& vm) const {
  std::vector<std::string> old_names;
  for (auto drive : drives_of(vm.config.current)) {
    if (!Volumes::is_own_disk(vm.id, drive)) continue;
    old_names.push_back(drive.volume);
    volumes_.turn_into_base(vm.id, drive);
    vm.config.current[drive.name] = drive.print();
  }
  vm.config.current["template"] = "1";
  services_.vms.save(vm);
  for (const auto& volume : old_names) volumes_.drop_name(volume);
}

void LifecycleRoutes::check_unused_base(const Vm& vm) const {
  for (const auto& own : drives_of(vm.config.current)) {
    if (!Volumes::is_base(own.volume)) continue;
    const std::string base = Volumes::own_name(own.volume);
    for (const auto& [vmid, other] : services_.vms.cluster().all()) {
      if (vmid == vm.id) continue;
      for (const auto& drive : drives_of(other->config.current)) {
        if (drive.volume.starts_with(base + "/")) {
          throw ApiError{
              500, fmt::format("base volume '{}' is still in use by linked cloned", own.volume)};
        }
      }
    }
  }
}

awaitable<json::value> LifecycleRoutes::destroy(Call& call) {
  const bool skip_lock = VmServices::skip_lock(call);
  const VmPtr vm = services_.vms.of(call);
  if (option_or(vm->config.current, "protection") == "1") {
    throw ApiError{500, fmt::format("can't remove VM {} - protection mode enabled", vm->id)};
  }
  if (vm->machine->status().running) {
    throw ApiError{500, fmt::format("VM {} is running - destroy failed", vm->id)};
  }
  co_return services_.start_locked(
      "qmdestroy", vm, call.user, skip_lock,
      [self = shared_from_this()](VmPtr gone, TaskLog&) -> awaitable<void> {
        if (gone->machine->status().running) {
          throw ApiError{500, fmt::format("VM {} is running - destroy failed", gone->id)};
        }
        self->check_unused_base(*gone);
        co_await self->services_.networks.forget(gone->id);
        self->services_.cluster.leave(gone->id);
        self->services_.sdn.leave_all(gone->config.current);
        self->services_.firewall.remove_vm(gone->id);
        self->services_.vms.remove(*gone);
      });
}

}  // namespace px::node
