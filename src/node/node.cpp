#include "node/node.hpp"

#include "node/access.hpp"
#include "node/backup/backup_routes.hpp"
#include "node/cluster.hpp"
#include "node/firewall/address_name_routes.hpp"
#include "node/firewall/firewall_routes.hpp"
#include "node/host.hpp"
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

#include <algorithm>

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
  host.cpus = host_cores();
  host.node_name = options.name;
  host.run_directory = directory / "run";
  host.firmware = find_uefi_firmwares();
  return host;
}

/// The names of all nodes. Throws Error{bad_input}.
std::vector<std::string> node_names(const NodeOptions& options) {
  std::vector<std::string> out{options.name};
  for (const auto& name : options.other_nodes) {
    if (!options.simulation) {
      throw Error{Errc::bad_input, "only a simulated node can be one of several"};
    }
    if (std::find(out.begin(), out.end(), name) != out.end()) {
      throw Error{Errc::bad_input, fmt::format("two nodes are called '{}'", name)};
    }
    out.push_back(name);
  }
  return out;
}

/// What each node of a cluster has of its own.
struct Member {
  Member(const asio::any_io_executor& executor, std::unique_ptr<State> given,
         const std::filesystem::path& shared, ClusterVms& cluster, const std::string& name,
         VmHardware hardware, TaskPace pace)
      : state{std::move(given)},
        tasks{executor, *state, name, pace},
        storages{state->directory() / "storage", shared},
        vms{*state, storages, cluster, name, std::move(hardware)} {}

  std::unique_ptr<State> state;  ///< the first node's holds the cluster's, too
  Tasks tasks;
  Storages storages;
  Vms vms;
  Router router;
};

}  // namespace

struct Node::Impl {
  Impl(asio::any_io_executor executor, asio::thread_pool& threads, NodeOptions given)
      : options{std::move(given)},
        pool{threads},
        members{make_members(executor)},
        access{state()},
        sdn{state(), options.name},
        firewall{state(), options.armed_firewall},
        networks{make_networks()},
        cluster{state(), cluster_vms, cluster_nodes(),
                options.simulation || qemu.accelerator == Accelerator::kvm} {
    for (auto& member : members) add_routes(*member);
    ServerOptions server_options;
    server_options.port = options.port;
    server_options.control = options.control;
    server_options.refusal_delay = options.refusal_delay;
    server = std::make_unique<Server>(executor, state(), cluster, access, faults,
                                      first().storages.spool_folder(), server_options);
  }

  std::vector<std::unique_ptr<Member>> make_members(const asio::any_io_executor& executor) {
    const auto names = node_names(options);
    const auto& directory = options.directory;
    const auto shared = names.size() > 1 ? directory / "storage" / "shared" : "";
    const auto pace = options.simulation ? options.simulation->task_pace : TaskPace{};
    std::vector<std::unique_ptr<Member>> out;
    for (const auto& name : names) {
      auto own_state = std::make_unique<State>(
          out.empty() ? directory : directory / "nodes" / name,
          options.simulation ? State::Lasting::kill : State::Lasting::power_cut);
      auto vm_hardware = make_hardware(executor);
      out.push_back(std::make_unique<Member>(executor, std::move(own_state), shared, cluster_vms,
                                             name, std::move(vm_hardware), pace));
    }
    return out;
  }

  VmHardware make_hardware(const asio::any_io_executor& executor) {
    if (options.simulation) {
      hardware = "simulated machines";
      return simulated_machines(*options.simulation);
    }
    qemu = find_qemu(options, options.directory);
    hardware = fmt::format("QEMU {} with {}", qemu.version, name_of(qemu.accelerator));
    return qemu_machines(executor, qemu);
  }

  std::vector<ClusterNode> cluster_nodes() {
    std::vector<ClusterNode> out;
    for (auto& member : members) out.push_back({member->vms, member->tasks, member->router});
    return out;
  }

  void add_routes(Member& member) {
    auto& router = member.router;
    access.add_routes(router);
    member.tasks.add_routes(router);
    const StorageServices storage_services{member.storages, member.tasks, member.vms.disks(), pool,
                                           member.vms.node()};
    std::make_shared<StorageRoutes>(storage_services)->add_routes(router);
    std::make_shared<TransferRoutes>(storage_services)->add_routes(router);
    cluster.add_routes(router);
    std::make_shared<SdnRoutes>(sdn, member.tasks, *networks)->add_routes(router);
    std::make_shared<FirewallRoutes>(firewall, sdn, *networks)->add_routes(router);
    std::make_shared<AddressNameRoutes>(firewall, *networks)->add_routes(router);
    const VmServices vm_services{member.vms, member.tasks, cluster, sdn, firewall, *networks, pool};
    add_vm_routes(router, vm_services);
    std::make_shared<BackupRoutes>(vm_services)->add_routes(router);
  }

  std::unique_ptr<NetworkMaker> make_networks() {
    if (options.simulation) return std::make_unique<SimulatedNetworks>();
    std::vector<RunningMachine> machines;
    for (const auto& [vmid, vm] : first().vms.all()) {
      const auto status = vm->machine->status();
      if (status.running) machines.push_back({vmid, status.pid, vm->config.current});
    }
    return std::make_unique<Networks>(sdn, firewall, pool, state().path("run") / "network",
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

  Member& first() { return *members.front(); }
  State& state() { return *first().state; }

  NodeOptions options;
  asio::thread_pool& pool;
  QemuHost qemu;
  std::string hardware;
  ClusterVms cluster_vms;
  std::vector<std::unique_ptr<Member>> members;  ///< the one that answers is the first
  Access access;
  Sdn sdn;
  Firewall firewall;
  std::unique_ptr<NetworkMaker> networks;
  Cluster cluster;
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
  return impl_->first().router.routes();
}

void Node::on_task_end(std::function<void(const std::string&, const std::string&)> call) {
  for (auto& member : impl_->members) member->tasks.on_end = call;
}
void Node::on_request(
    std::function<void(const std::string&, const std::string&, const std::string&, int)> call) {
  impl_->server->on_request = std::move(call);
}

awaitable<void> Node::run() {
  for (auto& member : impl_->members) co_await member->vms.refresh();
  co_await impl_->restore_networks();
  co_await impl_->server->run();
}

awaitable<void> Node::stop() {
  for (auto& member : impl_->members) co_await member->tasks.stop_all();
  for (auto& member : impl_->members) co_await member->vms.stop_all();
  co_await impl_->server->stop();
}

}  // namespace px::node
