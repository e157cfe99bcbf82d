#include "node/vm/config_routes.hpp"

#include "node/vm/cloud_init.hpp"
#include "node/vm/nics.hpp"
#include "node/vm/vm_options.hpp"

#include <algorithm>
#include <array>

namespace px::node {

namespace {

/// As the schema lists them.
std::vector<std::string> all_disk_names() {
  std::vector<std::string> names;
  for (const auto& [bus, count] : {std::pair{"ide", 4},
                                   {"scsi", 31},
                                   {"virtio", 16},
                                   {"sata", 6},
                                   {"efidisk", 1},
                                   {"tpmstate", 1}}) {
    for (int i = 0; i < count; ++i) names.push_back(fmt::format("{}{}", bus, i));
  }
  return names;
}

void check_digest(const Vm& vm, const std::string& digest) {
  if (!digest.empty() && digest != vm.config.digest()) {
    throw ApiError{500, "checksum mismatch (file change by other user?)"};
  }
}

/// The state is of one version (qemu-server API2/Qemu.pm, prohibit_tpm_version_change).
void check_tpm_version(const Options& before, const Options& after) {
  if (!before.contains("tpmstate0") || !after.contains("tpmstate0")) return;
  const Drive was = Drive::parse("tpmstate0", before.at("tpmstate0"));
  const Drive is = Drive::parse("tpmstate0", after.at("tpmstate0"));
  const auto version = [](const Drive& tpm) { return tpm.properties.get("version", "v1.2"); };
  if (was.volume == is.volume && version(was) != version(is)) {
    throw ApiError{500, "cannot change TPM state version after creation"};
  }
}

/// Under the first free `unusedN`.
void add_unused(const Vm& vm, const std::string& volume, Options& set) {
  for (int number = 0;; ++number) {
    const std::string unused = fmt::format("unused{}", number);
    if (vm.config.current.contains(unused) || set.contains(unused)) continue;
    set[unused] = volume;
    return;
  }
}

}  // namespace

struct ConfigRoutes::Request {
  ConfigChange change;
  bool force = false;  ///< destroy the disks of removed drives
  bool skip_lock = false;
  std::string digest;
  ImportOptions imports;
};

void ConfigRoutes::add_routes(Router& router) {
  using enum ParamType;
  const auto self = shared_from_this();
  std::vector<Param> change{{.name = "delete"},
                            {.name = "revert"},
                            {.name = "digest", .max_length = 40},
                            {.name = "force", .type = boolean},
                            {.name = "skiplock", .type = boolean}};
  change.insert(change.end(), vm_option_params().begin(), vm_option_params().end());
  add_vm_route(router, self, "GET", "/{vmid}/config",
               {{.name = "current", .type = boolean}, {.name = "snapshot", .max_length = 40}},
               &ConfigRoutes::read, false);
  add_vm_route(router, self, "GET", "/{vmid}/pending", {}, &ConfigRoutes::pending, false);
  add_vm_route(router, self, "PUT", "/{vmid}/config", change, &ConfigRoutes::write);
  change.push_back({.name = "import-working-storage", .format = "pve-storage-id"});
  add_vm_route(router, self, "POST", "/{vmid}/config", change, &ConfigRoutes::write_in_task);
  add_vm_route(router, self, "PUT", "/{vmid}/resize",
               {{.name = "disk", .required = true, .one_of = all_disk_names()},
                {.name = "size", .required = true, .pattern = "\\+?\\d+(\\.\\d+)?[KMGT]?"},
                {.name = "digest", .max_length = 40},
                {.name = "skiplock", .type = boolean}},
               &ConfigRoutes::resize);
  add_vm_route(router, self, "PUT", "/{vmid}/unlink",
               {{.name = "idlist", .required = true}, {.name = "force", .type = boolean}},
               &ConfigRoutes::unlink);
}

awaitable<json::value> ConfigRoutes::read(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  Options options = call.flag("current") ? vm->config.current : vm->config.after_pending();
  if (call.has("snapshot")) {
    const auto found = vm->config.snapshots.find(call.text("snapshot"));
    if (found == vm->config.snapshots.end()) {
      throw ApiError{500, fmt::format("snapshot '{}' does not exist", call.text("snapshot"))};
    }
    options = found->second;
  }
  json::object out{{"digest", vm->config.digest()}};
  for (const auto& [name, value] : options) out[name] = option_to_json(name, value);
  co_return out;
}

awaitable<json::value> ConfigRoutes::pending(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  const VmConfig& config = vm->config;
  json::array out;
  for (const auto& [name, value] : config.current) {
    json::object entry{{"key", name}, {"value", option_to_json(name, value)}};
    if (const auto next = config.pending.find(name); next != config.pending.end()) {
      entry["pending"] = option_to_json(name, next->second);
    }
    const auto& removed = config.pending_delete;
    if (std::find(removed.begin(), removed.end(), name) != removed.end()) entry["delete"] = 1;
    out.push_back(std::move(entry));
  }
  for (const auto& [name, value] : config.pending) {
    if (!config.current.contains(name)) {
      out.push_back(json::object{{"key", name}, {"pending", option_to_json(name, value)}});
    }
  }
  out.push_back(json::object{{"key", "digest"}, {"value", config.digest()}});
  co_return out;
}

ConfigRoutes::Request ConfigRoutes::request_of(const Call& call, const Options& before) const {
  Request request{.change = {.set = options_of(call, before),
                             .remove = call.words("delete"),
                             .revert = call.words("revert")},
                  .force = call.flag("force"),
                  .skip_lock = VmServices::skip_lock(call),
                  .digest = call.text_or("digest", ""),
                  .imports = ImportOptions::of(call)};
  const ConfigChange& change = request.change;
  for (const auto& [key, names] :
       {std::pair{"delete", change.remove}, std::pair{"revert", change.revert}}) {
    for (const auto& name : names) {
      if (find_vm_option(name) == nullptr) {
        throw ApiError::parameter(key, fmt::format("unknown option '{}'", name));
      }
      check_root_only(call.user, name, option_or(before, name));
      if (change.set.contains(name)) {
        throw ApiError::parameter(
            key, fmt::format("you can't use '-{}' and -{} {}' at the same time", name, key, name));
      }
    }
  }
  if (change.set.empty() && change.remove.empty() && change.revert.empty()) {
    throw ApiError{500, "no options specified"};
  }
  for (const auto& drive : drives_of(change.set)) volumes_.check(drive, request.imports);
  return request;
}

awaitable<json::value> ConfigRoutes::write(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  Request request = request_of(call, vm->config.after_pending());
  const auto permit = co_await services_.vms.lock(vm);
  TaskLog log;
  co_await apply(vm, std::move(request), log);
  co_return nullptr;
}

awaitable<json::value> ConfigRoutes::write_in_task(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  const Request request = request_of(call, vm->config.after_pending());
  if (!request.skip_lock) Vms::check_config_lock(*vm);
  check_digest(*vm, request.digest);
  std::string told;
  for (const auto& [name, values] : call.values) {
    if (name == "node" || name == "vmid") continue;
    told += fmt::format(" -{} {}", name, name == "cipassword" ? "<hidden>" : values.back());
  }
  co_return services_.start_locked(
      "qmconfig", vm, call.user, request.skip_lock,
      [self = shared_from_this(), request, told](VmPtr changed, TaskLog& log) {
        log.line(fmt::format("update VM {}:{}", changed->id, told));
        return self->apply(changed, request, log);
      });
}

awaitable<void> ConfigRoutes::apply(VmPtr vm, Request request, TaskLog& log) {
  if (!request.skip_lock) Vms::check_config_lock(*vm);
  // Nobody changes the VM from here to the end: all who do hold its lock, as the caller does.
  check_digest(*vm, request.digest);
  const Options before = vm->config.current;
  CloudInitDrive::check_single(vm->id, vm->config.after_pending(), request.change.set);
  bool new_cloud_init = false;
  for (const auto& name : request.change.remove) {
    if (!vm->config.current.contains(name) && !vm->config.pending.contains(name)) {
      log.line(fmt::format("cannot delete '{}' - not set in current configuration!", name));
    }
  }
  check_tpm_version(vm->config.current, request.change.set);
  for (const auto& drive : drives_of(request.change.set)) {
    new_cloud_init = new_cloud_init || wants_cloud_init(drive);
  }
  std::vector<std::string> made;
  std::exception_ptr failure;
  try {
    co_await make_disks(vm->id, request, made, log);
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    co_await shielded(drop_disks(std::move(made)));
    std::rethrow_exception(failure);
  }
  const std::vector<std::string> removed = request.change.remove;
  for (const auto& name : removed) co_await keep_disk(vm, name, request, log);
  if (!vm->machine->status().running) keep_replaced_disks(*vm, request);
  ConfigPlan plan = plan_change(vm->config, request.change, vm->machine->status().running);
  auto failures = rebook_nics(services_.sdn, vm->id, vm->config.current, plan.config);
  vm->config = std::move(plan.config);
  if (new_cloud_init) CloudInitDrive::note(*vm);
  services_.vms.save(*vm);
  failures = co_await apply_steps(vm, std::move(plan.steps), std::move(failures));
  co_await cloud_init_.drop_unused(vm, before);
  if (!failures.empty()) {
    throw ApiError{400, "Parameter verification failed.", std::move(failures)};
  }
}

/// Makes the disks that are asked for; `made` names them, whatever becomes of the others.
awaitable<void> ConfigRoutes::make_disks(int vmid, Request& request, std::vector<std::string>& made,
                                         TaskLog& log) {
  for (auto drive : drives_of(request.change.set)) {
    if (Volumes::is_request(drive)) {
      co_await volumes_.make(vmid, drive, request.imports, log);
      made.push_back(drive.volume);
    } else if (drive.is_cdrom() && !drive.is_empty()) {
      drive.properties.set("size", services_.vms.file_size(drive.volume));
    } else if (drive.is_cdrom()) {
      drive.properties.erase("size");
    }
    request.change.set[drive.name] = drive.print();
  }
}

awaitable<void> ConfigRoutes::drop_disks(std::vector<std::string> made) {
  for (const auto& volume : made) co_await volumes_.remove(volume);
}

/// Returns what failed, by option, besides `failures`.
awaitable<std::map<std::string, std::string>> ConfigRoutes::apply_steps(
    VmPtr vm, std::vector<HotplugStep> steps, std::map<std::string, std::string> failures) {
  for (const auto& step : steps) {
    try {
      co_await take(vm, step);
      settle(vm->config, step.option);
    } catch (const Error& error) {
      failures[step.option] =
          fmt::format("unable to apply pending change {} : {}", step.option, error.said);
    } catch (const ApiError& error) {
      failures[step.option] =
          fmt::format("unable to apply pending change {} : {}", step.option, error.message);
    }
  }
  if (!steps.empty()) services_.vms.save(*vm);
  co_return failures;
}

awaitable<void> ConfigRoutes::take(VmPtr vm, HotplugStep step) {
  const Options after = vm->config.after_pending();
  Machine& machine = *vm->machine;
  const bool new_drive =
      step.kind == HotplugStep::Kind::change_medium || step.kind == HotplugStep::Kind::plug_drive;
  if (new_drive && is_cloud_init_drive(vm->id, Drive::parse(step.option, after.at(step.option)))) {
    co_await cloud_init_.generate(vm);
  }
  switch (step.kind) {
    case HotplugStep::Kind::change_medium: {
      const Drive drive = Drive::parse(step.option, after.at(step.option));
      std::filesystem::path medium;
      if (!drive.is_empty()) medium = services_.vms.storages().existing(drive.volume).path;
      co_await machine.change_medium(step.option, medium);
      break;
    }
    case HotplugStep::Kind::plug_drive:
      co_await machine.plug_drive(step.option, services_.vms.setup(after));
      break;
    case HotplugStep::Kind::unplug_drive:
      co_await machine.unplug_drive(step.option);
      break;
    case HotplugStep::Kind::plug_nic: {
      enter_network(*vm, step.option, after);
      MachineSetup setup = services_.vms.setup(after);
      co_await services_.networks.plug(vm->id, machine.status().pid, step.option, setup);
      co_await machine.plug_nic(step.option, setup);
      break;
    }
    case HotplugStep::Kind::unplug_nic:
      co_await machine.unplug_nic(step.option);
      co_await services_.networks.unplug(vm->id, step.option);
      services_.sdn.leave(NicPlace::parse(vm->config.current.at(step.option)));
      break;
    case HotplugStep::Kind::move_nic:
      // Its address is booked anew on another bridge only (qemu-server, vmconfig_update_net).
      if (NicPlace::parse(after.at(step.option)) !=
          NicPlace::parse(vm->config.current.at(step.option))) {
        enter_network(*vm, step.option, after);
      }
      co_await services_.networks.move(vm->id, machine.status().pid, step.option,
                                       after.at(step.option));
      break;
  }
}

/// Of a NIC that is plugged into a running VM, or moved to another bridge.
void ConfigRoutes::enter_network(const Vm& vm, const std::string& nic, const Options& after) {
  const auto place = NicPlace::parse(after.at(nic));
  services_.sdn.check_bridge(place.bridge);
  const auto old = vm.config.current.find(nic);
  if (old != vm.config.current.end()) services_.sdn.leave(NicPlace::parse(old->second));
  services_.sdn.join(place, option_or(after, "name"), vm.id);
}

/// A removed drive's disk stays as `unusedN`, or is destroyed with `force`; a removed `unusedN` is
/// destroyed.
awaitable<void> ConfigRoutes::keep_disk(VmPtr vm, std::string name, Request& request,
                                        TaskLog& log) {
  const auto found = vm->config.current.find(name);
  if (found == vm->config.current.end()) co_return;
  if (name.starts_with("unused")) {
    co_await volumes_.remove(found->second);
    co_return;
  }
  if (!is_drive_option(name)) co_return;
  const Drive drive = Drive::parse(name, found->second);
  if (!Volumes::is_own_disk(vm->id, drive)) co_return;
  if (request.force && !vm->machine->status().running) {
    co_await volumes_.remove(drive.volume);
    log.line(fmt::format("removed volume '{}'", drive.volume));
    co_return;
  }
  add_unused(*vm, drive.volume, request.change.set);
}

/// A disk whose drive gets another one stays, too.
void ConfigRoutes::keep_replaced_disks(const Vm& vm, Request& request) const {
  for (const auto& drive : drives_of(request.change.set)) {
    const auto old = vm.config.current.find(drive.name);
    if (old == vm.config.current.end()) continue;
    const Drive before = Drive::parse(drive.name, old->second);
    if (!Volumes::is_own_disk(vm.id, before) || before.volume == drive.volume) continue;
    add_unused(vm, before.volume, request.change.set);
  }
}

awaitable<json::value> ConfigRoutes::resize(Call& call) {
  const bool skip_lock = VmServices::skip_lock(call);
  const VmPtr vm = services_.vms.of(call);
  const std::string& disk = call.text("disk");
  const std::string& size = call.text("size");
  const bool grow_by = size.starts_with('+');
  const auto bytes = parse_size(grow_by ? size.substr(1) : size);
  if (!bytes) throw ApiError::parameter("size", "value does not match the regex pattern");
  co_return services_.start_locked(
      "resize", vm, call.user, skip_lock,
      [self = shared_from_this(), disk, grow_by, bytes = *bytes,
       digest = call.text_or("digest", "")](VmPtr grown, TaskLog&) -> awaitable<void> {
        check_digest(*grown, digest);
        const auto found = grown->config.current.find(disk);
        if (found == grown->config.current.end()) {
          throw ApiError{500, fmt::format("disk '{}' does not exist", disk)};
        }
        Drive drive = Drive::parse(disk, found->second);
        if (drive.is_cdrom()) throw ApiError{500, "you can't resize a cdrom"};
        // Its size is that of what it holds.
        if (drive.is_state()) throw ApiError{500, fmt::format("you can't resize {}", disk)};
        const std::uint64_t old_size = parse_size(drive.properties.get("size")).value_or(0);
        const std::uint64_t new_size = grow_by ? old_size + bytes : bytes;
        if (new_size < old_size) throw ApiError{500, "shrinking disks is not supported"};
        if (grown->machine->status().running) {
          co_await grown->machine->resize_disk(disk, new_size);
        } else {
          co_await self->volumes_.resize(drive, new_size);
        }
        drive.properties.set("size", print_size(new_size));
        grown->config.current[disk] = drive.print();
        self->services_.vms.save(*grown);
      });
}

awaitable<json::value> ConfigRoutes::unlink(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  Request request;
  request.change.remove = call.words("idlist");
  request.force = call.flag("force");
  const auto permit = co_await services_.vms.lock(vm);
  TaskLog log;
  co_await apply(vm, std::move(request), log);
  co_return nullptr;
}

}  // namespace px::node
