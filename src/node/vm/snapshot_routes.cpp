#include "node/vm/snapshot_routes.hpp"

#include "node/vm/vm_options.hpp"

#include <array>
#include <regex>

namespace px::node {

namespace {

/// Options that belong to a snapshot, not to the machine it froze.
constexpr std::array<std::string_view, 3> snapshot_options{"snaptime", "vmstate", "parent"};

std::int64_t unix_time() {
  return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
}

std::string check_snapshot_name(const std::string& name) {
  static const std::regex wanted{"[A-Za-z][A-Za-z0-9_-]+"};
  if (!std::regex_match(name, wanted)) {
    throw ApiError::parameter(
        "snapname", fmt::format("invalid format - invalid configuration ID '{}'\n", name));
  }
  return name;
}

/// The disks that a snapshot holds; each must be a qcow2.
std::vector<Drive> disks_to_save(const Options& options) {
  std::vector<Drive> out;
  for (const auto& drive : drives_of(options)) {
    if (drive.is_cdrom()) continue;
    if (Volumes::format_of(drive.volume) != "qcow2") {
      throw ApiError{500, "snapshot feature is not available"};
    }
    out.push_back(drive);
  }
  if (out.empty()) throw ApiError{500, "snapshot feature is not available"};
  return out;
}

std::vector<std::string> names_of(const std::vector<Drive>& drives) {
  std::vector<std::string> out;
  for (const auto& drive : drives) out.push_back(drive.name);
  return out;
}

Options& snapshot_of(Vm& vm, const std::string& name) {
  const auto found = vm.config.snapshots.find(name);
  if (found == vm.config.snapshots.end()) {
    throw ApiError{500, fmt::format("snapshot '{}' does not exist", name)};
  }
  return found->second;
}

json::object entry_of(const std::string& name, const Options& options) {
  json::object entry{{"name", name},
                     {"description", option_or(options, "description")},
                     {"snaptime", number_option(options, "snaptime", 0)},
                     {"vmstate", options.contains("vmstate") ? 1 : 0}};
  if (options.contains("parent")) entry["parent"] = options.at("parent");
  return entry;
}

}  // namespace

void SnapshotRoutes::add_routes(Router& router) {
  using enum ParamType;
  const auto self = shared_from_this();
  const std::string base = "/{vmid}/snapshot";
  const std::string one = base + "/{snapname}";
  add_vm_route(router, self, "GET", base, {}, &SnapshotRoutes::list);
  add_vm_route(router, self, "POST", base,
               {{.name = "snapname", .required = true, .max_length = 40},
                {.name = "description"},
                {.name = "vmstate", .type = boolean}},
               &SnapshotRoutes::create);
  add_vm_route(router, self, "GET", one, {}, &SnapshotRoutes::index, false);
  add_vm_route(router, self, "DELETE", one, {{.name = "force", .type = boolean}},
               &SnapshotRoutes::remove);
  add_vm_route(router, self, "GET", one + "/config", {}, &SnapshotRoutes::read_config, false);
  add_vm_route(router, self, "PUT", one + "/config", {{.name = "description"}},
               &SnapshotRoutes::write_config);
  add_vm_route(router, self, "POST", one + "/rollback", {{.name = "start", .type = boolean}},
               &SnapshotRoutes::rollback);
}

awaitable<json::value> SnapshotRoutes::list(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  std::multimap<std::int64_t, json::object> by_time;
  for (const auto& [name, options] : vm->config.snapshots) {
    by_time.emplace(number_option(options, "snaptime", 0), entry_of(name, options));
  }
  json::array out;
  for (auto& [time, entry] : by_time) out.push_back(std::move(entry));
  json::object current{{"name", "current"},
                       {"description", "You are here!"},
                       {"digest", vm->config.digest()},
                       {"running", vm->machine->status().running ? 1 : 0}};
  if (vm->config.current.contains("parent")) current["parent"] = vm->config.current.at("parent");
  out.push_back(std::move(current));
  co_return out;
}

awaitable<json::value> SnapshotRoutes::index(Call& call) {
  services_.vms.of(call);
  co_return json::array{json::object{{"cmd", "rollback"}}, json::object{{"cmd", "config"}}};
}

awaitable<json::value> SnapshotRoutes::read_config(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  json::object out;
  for (const auto& [name, value] : snapshot_of(*vm, call.text("snapname"))) {
    out[name] = option_to_json(name, value);
  }
  co_return out;
}

awaitable<json::value> SnapshotRoutes::write_config(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  const auto permit = co_await services_.vms.lock(vm);
  Vms::check_config_lock(*vm);
  Options& options = snapshot_of(*vm, call.text("snapname"));
  if (call.has("description")) options["description"] = call.text("description");
  services_.vms.save(*vm);
  co_return nullptr;
}

awaitable<json::value> SnapshotRoutes::create(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  const std::string name = check_snapshot_name(call.text("snapname"));
  if (name == "current" || name == "pending") {
    throw ApiError{500, fmt::format("unable to use snapshot name '{}' (reserved name)", name)};
  }
  co_return services_.start_locked(
      "qmsnapshot", vm, call.user, false,
      [self = shared_from_this(), name, description = call.text_or("description", ""),
       memory = call.flag("vmstate")](VmPtr saved, TaskLog& log) {
        return self->save(saved, name, description, memory, log);
      });
}

awaitable<void> SnapshotRoutes::save(VmPtr vm, std::string name, std::string description,
                                     bool memory, TaskLog& log) {
  if (vm->is_template()) throw ApiError{500, "you can't take a snapshot if it's a template"};
  if (vm->config.snapshots.contains(name)) {
    throw ApiError{500, fmt::format("snapshot name '{}' already used", name)};
  }
  const auto disks = disks_to_save(vm->config.current);
  const bool running = vm->machine->status().running;
  const bool with_memory = memory && running;
  if (with_memory) log.line("saving VM state and RAM using storage 'local'");
  for (const auto& drive : disks) {
    log.line(fmt::format("snapshotting 'drive-{}' ({})", drive.name, drive.volume));
  }
  if (running) {
    co_await vm->machine->save_snapshot(name, names_of(disks), with_memory);
  } else {
    for (const auto& drive : disks) {
      co_await run_in_pool(services_.threads,
                           [&tool = services_.vms.disks(),
                            image = services_.vms.storages().existing(drive.volume).path,
                            name] { tool.save_snapshot(image, name); });
    }
  }
  Options frozen = vm->config.current;
  frozen["snaptime"] = std::to_string(unix_time());
  frozen.erase("description");
  if (!description.empty()) frozen["description"] = description;
  if (with_memory) {
    frozen["vmstate"] = fmt::format("local:{}/vm-{}-state-{}.raw", vm->id, vm->id, name);
  }
  vm->config.snapshots[name] = std::move(frozen);
  vm->config.current["parent"] = name;
  services_.vms.save(*vm);
}

awaitable<json::value> SnapshotRoutes::rollback(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  co_return services_.start_locked(
      "qmrollback", vm, call.user, false,
      [self = shared_from_this(), name = call.text("snapname"), start = call.flag("start")](
          VmPtr back, TaskLog& log) { return self->restore(back, name, start, log); });
}

awaitable<void> SnapshotRoutes::restore(VmPtr vm, std::string name, bool start, TaskLog& log) {
  const Options frozen = snapshot_of(*vm, name);
  const auto disks = disks_to_save(frozen);
  const bool with_memory = frozen.contains("vmstate");
  co_await vm->machine->stop();
  Options options = frozen;
  for (const auto option : snapshot_options) options.erase(std::string{option});
  options["parent"] = name;
  // Notes belong to the VM, not to the moment; and a restored guest must not repeat its randomness.
  options.erase("description");
  if (vm->config.current.contains("description")) {
    options["description"] = vm->config.current.at("description");
  }
  if (options.contains("vmgenid")) options["vmgenid"] = new_uuid();
  vm->config.current = std::move(options);
  vm->config.drop_pending();
  services_.vms.save(*vm);
  if (with_memory) {
    // QEMU takes the disks back together with the memory.
    co_await services_.power_on(vm, log, name);
    co_return;
  }
  for (const auto& drive : disks) {
    co_await run_in_pool(services_.threads,
                         [&tool = services_.vms.disks(),
                          image = services_.vms.storages().existing(drive.volume).path,
                          name] { tool.load_snapshot(image, name); });
  }
  if (start) co_await services_.power_on(vm, log);
}

awaitable<json::value> SnapshotRoutes::remove(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  co_return services_.start_locked(
      "qmdelsnapshot", vm, call.user, false,
      [self = shared_from_this(), name = call.text("snapname"), force = call.flag("force")](
          VmPtr changed, TaskLog&) { return self->drop(changed, name, force); });
}

awaitable<void> SnapshotRoutes::drop(VmPtr vm, std::string name, bool force) {
  const Options frozen = snapshot_of(*vm, name);
  std::string failure;
  try {
    const auto disks = disks_to_save(frozen);
    if (vm->machine->status().running) {
      co_await vm->machine->delete_snapshot(name, names_of(disks));
    } else {
      for (const auto& drive : disks) {
        co_await run_in_pool(services_.threads,
                             [&tool = services_.vms.disks(),
                              image = services_.vms.storages().existing(drive.volume).path,
                              name] { tool.delete_snapshot(image, name); });
      }
    }
  } catch (const Error& error) {
    failure = error.said;
  } catch (const ApiError& error) {
    failure = error.message;
  }
  if (!failure.empty() && !force) throw ApiError{500, failure};
  const std::string parent = option_or(frozen, "parent");
  vm->config.snapshots.erase(name);
  const auto adopt = [&](Options& child) {
    if (option_or(child, "parent") != name) return;
    if (parent.empty()) {
      child.erase("parent");
    } else {
      child["parent"] = parent;
    }
  };
  adopt(vm->config.current);
  for (auto& [other, options] : vm->config.snapshots) adopt(options);
  services_.vms.save(*vm);
}

}  // namespace px::node
