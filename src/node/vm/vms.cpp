#include "node/vm/vms.hpp"

#include "node/vm/peripherals.hpp"
#include "node/vm/qemu_machine.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

namespace px::node {

namespace {

constexpr int end_of_vmids = 1'000'000;  // of those that /cluster/nextid gives

/// Bytes that a simulated node uses without VMs.
constexpr std::int64_t idle_memory = std::int64_t{1} << 30;

/// Bytes: of a simulated VM all that it has been given.
std::int64_t used_memory(Vm& vm) {
  const MachineStatus status = vm.machine->status();
  if (!status.running) return 0;
  return status.pid > 0 ? process_memory(status.pid) : memory_mib(vm.config.current) << 20;
}

std::string config_name(int vmid) {
  return fmt::format("qemu-server/{}.conf", vmid);
}

std::uint64_t disk_bytes(const Options& options) {
  for (const auto& drive : drives_of(options)) {
    if (!drive.is_cdrom() && !drive.is_state()) {
      return parse_size(drive.properties.get("size")).value_or(0);
    }
  }
  return 0;
}

}  // namespace

VmHardware qemu_machines(asio::any_io_executor executor, const QemuHost& host) {
  std::filesystem::create_directories(host.run_directory);
  return {
      .make_machine = [executor = std::move(executor), &host](
                          int vmid) { return std::make_unique<QemuMachine>(executor, host, vmid); },
      .disks = std::make_shared<QemuDisks>(),
      .version = host.version,
      .cores = host.cpus};
}

VmHardware simulated_machines(const Simulation& simulation) {
  return {
      .make_machine =
          [&simulation](int vmid) { return std::make_unique<SimulatedMachine>(simulation, vmid); },
      .disks = std::make_shared<SimulatedDisks>(),
      .version = "simulated",
      .agent_limits = simulation.agent_limits,
      .cores = simulation.cores,
      .memory = simulation.memory};
}

VmPtr ClusterVms::find(int vmid) const {
  const auto found = vms_.find(vmid);
  return found == vms_.end() ? nullptr : found->second;
}

void ClusterVms::remove(int vmid) {
  vms_.erase(vmid);
  all_taken_below_ = std::min(all_taken_below_, vmid);
}

int ClusterVms::lowest_free() {
  while (vms_.contains(all_taken_below_)) ++all_taken_below_;
  if (all_taken_below_ >= end_of_vmids) throw ApiError{500, "unable to get any free VMID"};
  return all_taken_below_;
}

Vms::Vms(State& state, Storages& storages, ClusterVms& cluster, std::string node,
         VmHardware hardware)
    : state_{state},
      storages_{storages},
      cluster_{cluster},
      node_{std::move(node)},
      hardware_{std::move(hardware)} {
  const auto folder = state_.path("qemu-server");
  std::filesystem::create_directories(folder);
  for (const auto& entry : std::filesystem::directory_iterator{folder}) {
    const std::string stem = entry.path().stem().string();
    int vmid = 0;
    const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), vmid);
    if (entry.path().extension() != ".conf" || error != std::errc{} ||
        end != stem.data() + stem.size()) {
      continue;
    }
    load(vmid, state_.read(config_name(vmid)).value_or(""));
  }
}

void Vms::load(int vmid, const std::string& text) {
  auto vm = std::make_shared<Vm>();
  vm->id = vmid;
  vm->node = node_;
  try {
    vm->config = VmConfig::parse(text);
  } catch (const Error& error) {
    log::error("VM {} is left out: {}", vmid, error.said);
    return;
  }
  vm->machine = hardware_.make_machine(vmid);
  if (vm->config.current.erase("lock") > 0) save(*vm);
  cluster_.add(vm);
  vms_.emplace(vmid, std::move(vm));
}

awaitable<void> Vms::refresh() {
  const auto vms = vms_;
  for (const auto& [vmid, vm] : vms) {
    try {
      co_await vm->machine->refresh();
    } catch (const Error& error) {
      log::warn("VM {} does not say how it is: {}", vmid, error.said);
    }
  }
}

awaitable<void> Vms::stop_all() {
  const auto vms = vms_;
  for (const auto& [vmid, vm] : vms) {
    try {
      co_await vm->machine->stop();
    } catch (const Error& error) {
      log::error("VM {} still runs: {}", vmid, error.said);
    }
  }
}

VmPtr Vms::at(int vmid) const {
  const auto found = vms_.find(vmid);
  if (found == vms_.end()) {
    throw ApiError{
        500, fmt::format("Configuration file 'nodes/{}/qemu-server/{}.conf' does not exist", node_,
                         vmid)};
  }
  return found->second;
}

VmPtr Vms::add(int vmid, Options options) {
  auto vm = std::make_shared<Vm>();
  vm->id = vmid;
  vm->node = node_;
  vm->config.current = std::move(options);
  vm->machine = hardware_.make_machine(vmid);
  save(*vm);
  cluster_.add(vm);
  vms_.emplace(vmid, vm);
  return vm;
}

void Vms::move(Vm& vm, Vms& to) {
  const auto itself = vms_.extract(vm.id);
  vm.node = to.node_;
  to.save(vm);
  to.vms_.emplace(vm.id, itself.mapped());
  state_.remove(config_name(vm.id));
}

void Vms::save(const Vm& vm) const {
  if (vm.exists) state_.write(config_name(vm.id), vm.config.print());
}

void Vms::remove_disks(const Vm& vm) const {
  for (const auto& storage : storages_.all()) {
    if (!storage.holds("images")) continue;
    std::error_code ignored;
    std::filesystem::remove_all(storage.folder / "images" / std::to_string(vm.id), ignored);
  }
}

void Vms::remove(Vm& vm) {
  const int vmid = vm.id;
  remove_disks(vm);
  vm.machine->discard();
  vm.exists = false;
  state_.remove(config_name(vmid));
  cluster_.remove(vmid);
  vms_.erase(vmid);
}

awaitable<Semaphore::Permit> Vms::lock(VmPtr vm, std::chrono::milliseconds limit) const {
  Semaphore::Permit permit;
  try {
    permit = co_await with_deadline(vm->lock.acquire(), Deadline::after(limit), "");
  } catch (const Error& error) {
    if (error.kind != Errc::timeout) throw;
    throw ApiError{
        500,
        fmt::format("can't lock file '/var/lock/qemu-server/lock-{}.conf' - got timeout", vm->id)};
  }
  if (!vm->exists) at(vm->id);
  co_return permit;
}

void Vms::check_config_lock(const Vm& vm) {
  const std::string lock = vm.config_lock();
  if (!lock.empty()) throw ApiError{500, fmt::format("VM is locked ({})", lock)};
}

MachineSetup Vms::setup(const Options& options) const {
  MachineSetup setup;
  setup.options = options;
  for (const auto& drive : drives_of(options)) {
    if (!drive.is_empty()) {
      setup.volumes[drive.volume] = storages_.existing(drive.volume).path;
    }
  }
  return setup;
}

std::string Vms::file_size(const std::string& volume) const {
  return print_size(std::filesystem::file_size(storages_.existing(volume).path));
}

NodeMemory Vms::memory() const {
  if (hardware_.memory == 0) return host_memory();
  NodeMemory out{hardware_.memory, idle_memory};
  for (const auto& [vmid, vm] : vms_) out.used += used_memory(*vm);
  return out;
}

json::object Vms::summary(Vm& vm, bool full) const {
  const Options& options = vm.config.current;
  const MachineStatus status = vm.machine->status();
  const std::int64_t memory = used_memory(vm);
  json::object out{{"vmid", vm.id},
                   {"name", option_or(options, "name", fmt::format("VM {}", vm.id))},
                   {"status", status.running ? "running" : "stopped"},
                   {"cpus", cpu_count(options)},
                   {"cpu", 0},
                   {"mem", memory},
                   {"memhost", memory},
                   {"maxmem", memory_mib(options) << 20},
                   {"disk", 0},
                   {"maxdisk", disk_bytes(options)},
                   {"diskread", 0},
                   {"diskwrite", 0},
                   {"netin", 0},
                   {"netout", 0},
                   {"uptime", status.uptime.count()}};
  if (status.pid > 0) out["pid"] = status.pid;
  if (options.contains("tags")) out["tags"] = options.at("tags");
  if (options.contains("lock")) out["lock"] = options.at("lock");
  if (options.contains("serial0")) out["serial"] = 1;
  if (vm.is_template()) out["template"] = 1;
  if (full) {
    out["qmpstatus"] = status.run_state;
    out["pressurecpusome"] = status.cpu_pressure;
  }
  return out;
}

std::string new_uuid() {
  std::string bytes = random_bytes(16);
  bytes[6] = static_cast<char>((bytes[6] & 0x0F) | 0x40);  // RFC 9562: version 4
  bytes[8] = static_cast<char>((bytes[8] & 0x3F) | 0x80);
  const std::string hex = to_hex(bytes);
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20));
}

std::string new_mac() {
  const std::string bytes = random_bytes(3);
  const auto at = [&bytes](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  return fmt::format("BC:24:11:{:02X}:{:02X}:{:02X}", at(0), at(1), at(2));
}

std::string with_new_mac(const std::string& nic) {
  Properties properties{nic};
  const std::string model = properties.items().front().first;
  properties.erase(model);
  const std::string rest = properties.print();
  return fmt::format("{}={}{}{}", model, new_mac(), rest.empty() ? "" : ",", rest);
}

}  // namespace px::node
