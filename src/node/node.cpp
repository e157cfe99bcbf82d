#include "node/node.hpp"

#include "node/access.hpp"
#include "node/backup/backup_routes.hpp"
#include "node/cluster.hpp"
#include "node/firewall/address_name_routes.hpp"
#include "node/firewall/firewall_routes.hpp"
#include "node/network/networks.hpp"
#include "node/network/sdn_routes.hpp"
#include "node/server.hpp"
#include "node/state.hpp"
#include "node/storage/transfer_routes.hpp"
#include "node/tasks.hpp"
#include "node/vm/accelerator.hpp"
#include "node/vm/routes.hpp"
#include "node/vm/vms.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <thread>

namespace px::node {

namespace {

QemuHost find_qemu(const NodeOptions& options, const std::filesystem::path& directory) {
  QemuHost host;
  host.version = installed_qemu_version(host.binary);
  switch (options.accelerator) {
    case AcceleratorChoice::probe:
      host.accelerator = probe_accelerator(host.binary, host.version, directory / "accelerator");
      break;
    case AcceleratorChoice::tcg:
      host.accelerator = Accelerator::tcg;
      break;
    case AcceleratorChoice::kvm:
      host.accelerator = Accelerator::kvm;
      break;
  }
  host.cpus = static_cast<int>(std::thread::hardware_concurrency());
  host.node_name = options.name;
  host.run_directory = directory / "run";
  host.firmware = find_uefi_firmwares();
  return host;
}

}  // namespace

struct Node::Impl {
  Impl(asio::any_io_executor executor, asio::thread_pool& pool, NodeOptions given)
      : options{std::move(given)},
        state{options.directory},
        access{state},
        tasks{executor, state, options.name},
        storages{state.directory() / "storage"},
        qemu{options.simulation ? QemuHost{} : find_qemu(options, state.directory())},
        hardware{options.simulation
                     ? "simulated machines"
                     : fmt::format("QEMU {} with {}", qemu.version, name_of(qemu.accelerator))},
        vms{state, storages, options.name,
            options.simulation ? simulated_machines(*options.simulation)
                               : qemu_machines(executor, qemu)},
        sdn{state, options.name},
        firewall{state, options.armed_firewall},
        networks{make_networks(pool)},
        cluster{state, vms, options.simulation || qemu.accelerator == Accelerator::kvm} {
    access.add_routes(router);
    tasks.add_routes(router);
    const StorageServices storage_services{storages, tasks, vms.disks(), pool, options.name};
    std::make_shared<StorageRoutes>(storage_services)->add_routes(router);
    std::make_shared<TransferRoutes>(storage_services)->add_routes(router);
    cluster.add_routes(router);
    std::make_shared<SdnRoutes>(sdn, tasks, *networks)->add_routes(router);
    std::make_shared<FirewallRoutes>(firewall, sdn, *networks)->add_routes(router);
    std::make_shared<AddressNameRoutes>(firewall, *networks)->add_routes(router);
    const VmServices vm_services{vms, tasks, cluster, sdn, firewall, *networks, pool};
    add_vm_routes(router, vm_services);
    std::make_shared<BackupRoutes>(vm_services)->add_routes(router);
    ServerOptions server_options;
    server_options.port = options.port;
    server_options.node_name = options.name;
    server_options.control = options.control;
    server_options.refusal_delay = options.refusal_delay;
    server = std::make_unique<Server>(executor, state, router, access, faults,
                                      storages.spool_folder(), server_options);
  }

  std::unique_ptr<NetworkMaker> make_networks(asio::thread_pool& pool) {
    if (options.simulation) return std::make_unique<SimulatedNetworks>();
    std::vector<RunningMachine> machines;
    for (const auto& [vmid, vm] : vms.all()) {
      const auto status = vm->machine->status();
      if (status.running) machines.push_back({vmid, status.pid, vm->config.current});
    }
    return std::make_unique<Networks>(sdn, firewall, pool, state.directory() / "run" / "network",
                                      machines);
  }

  /// The networks that an earlier node had applied.
  awaitable<void> restore_networks() {
    try {
      co_await networks->apply();
    } catch (const Error& error) {
      log::warn("the networks are not there: {}", error.said);
    }
  }

  NodeOptions options;
  State state;
  Access access;
  Tasks tasks;
  Storages storages;
  QemuHost qemu;
  std::string hardware;
  Vms vms;
  Sdn sdn;
  Firewall firewall;
  std::unique_ptr<NetworkMaker> networks;
  Cluster cluster;
  Router router;
  Faults faults;
  std::unique_ptr<Server> server;
};

Node::Node(asio::any_io_executor executor, asio::thread_pool& pool, NodeOptions options)
    : impl_{std::make_unique<Impl>(std::move(executor), pool, std::move(options))} {}

Node::~Node() = default;

std::uint16_t Node::port() const noexcept {
  return impl_->server->port();
}
const std::string& Node::fingerprint() const noexcept {
  return impl_->server->fingerprint();
}
const std::string& Node::hardware() const noexcept {
  return impl_->hardware;
}
const Secret& Node::password() const noexcept {
  return impl_->access.password();
}
Secret Node::token(const std::string& name) {
  return impl_->access.own_token(name);
}
Faults& Node::faults() noexcept {
  return impl_->faults;
}

const std::deque<Route>& Node::routes() const noexcept {
  return impl_->router.routes();
}

void Node::on_task_end(std::function<void(const std::string&, const std::string&)> call) {
  impl_->tasks.on_end = std::move(call);
}
void Node::on_request(
    std::function<void(const std::string&, const std::string&, const std::string&, int)> call) {
  impl_->server->on_request = std::move(call);
}

awaitable<void> Node::run() {
  co_await impl_->vms.refresh();
  co_await impl_->restore_networks();
  co_await impl_->server->run();
}

awaitable<void> Node::stop() {
  co_await impl_->tasks.stop_all();
  co_await impl_->vms.stop_all();
  co_await impl_->server->stop();
}

}  // namespace px::node
