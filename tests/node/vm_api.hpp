#pragma once
#include "node/backup/backup_routes.hpp"
#include "node/cluster.hpp"
#include "node/firewall/address_name_routes.hpp"
#include "node/firewall/firewall_routes.hpp"
#include "node/network/networks.hpp"
#include "node/network/sdn_routes.hpp"
#include "node/state.hpp"
#include "node/storage/transfer_routes.hpp"
#include "node/tasks.hpp"
#include "node/vm/routes.hpp"
#include "run.hpp"
#include "support/bytes.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace px::node::testing {

using Params = std::vector<std::pair<std::string, std::string>>;

/// A temporary directory that goes with its owner.
struct TemporaryDirectory {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("px-node-" + random_hex(8));
  TemporaryDirectory() { std::filesystem::create_directories(path); }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
};

/// The VM routes without the HTTP server around them.
class VmApi {
 public:
  VmApi(const asio::any_io_executor& executor, const std::filesystem::path& directory,
        VmHardware hardware, bool real_networks = false)
      : state_{directory, State::Lasting::kill},
        tasks_{executor, state_, "pve1"},
        storages_{directory / "storage"},
        vms{state_, storages_, cluster_vms_, "pve1", std::move(hardware)},
        sdn{state_, "pve1"},
        firewall{state_, true},
        networks_{make_networks(real_networks)},
        cluster_{state_, cluster_vms_, {{vms, tasks_, router_}}, false} {
    tasks_.add_routes(router_);
    cluster_.add_routes(router_);
    const StorageServices storage_services{storages_, tasks_, vms.disks(), threads_, "pve1"};
    std::make_shared<StorageRoutes>(storage_services)->add_routes(router_);
    std::make_shared<TransferRoutes>(storage_services)->add_routes(router_);
    const VmServices services{vms, tasks_, cluster_, sdn, firewall, *networks_, threads_};
    add_vm_routes(router_, services);
    std::make_shared<BackupRoutes>(services)->add_routes(router_);
    std::make_shared<SdnRoutes>(sdn, tasks_, *networks_)->add_routes(router_);
    std::make_shared<FirewallRoutes>(firewall, sdn, *networks_)->add_routes(router_);
    std::make_shared<AddressNameRoutes>(firewall, *networks_)->add_routes(router_);
  }

  /// Who asks.
  std::string user = "root@pam";
  /// The answer's `data`; throws ApiError.
  awaitable<json::value> send(std::string method, std::string path, Params params = {}) {
    std::map<std::string, std::string> in_path;
    const Route* route = router_.find(method, path, in_path);
    if (route == nullptr) throw ApiError{501, "no such route: " + method + " " + path};
    std::map<std::string, std::vector<std::string>> given;
    for (auto& [name, value] : params) given[name].push_back(std::move(value));
    Call call;
    call.user = user;
    call.method = method;
    call.path = path;
    check_parameters(*route, in_path, std::move(given), call);
    co_return co_await route->handler(call);
  }
  awaitable<json::value> vm(std::string method, std::string path, Params params = {}) {
    co_return co_await send(std::move(method), "/nodes/pve1/qemu" + std::move(path),
                            std::move(params));
  }
  /// Sends what starts a task, waits for its end, and returns its exit status.
  awaitable<std::string> task(std::string method, std::string path, Params params = {}) {
    const json::value upid = co_await vm(std::move(method), std::move(path), std::move(params));
    co_return co_await end_of(upid);
  }
  awaitable<std::string> end_of(json::value upid) {
    const std::string at = "/nodes/pve1/tasks/" + std::string{upid.as_string()} + "/status";
    for (;;) {
      const json::value status = co_await send("GET", at);
      if (json::text_or(status, "status") == "stopped") {
        co_return json::text_or(status, "exitstatus");
      }
      co_await sleep_for(std::chrono::milliseconds{2});
    }
  }
  /// The message of a refused request, with its status and the parameters' messages; "" when it was
  /// not refused.
  awaitable<std::string> refused(std::string method, std::string path, Params params = {}) {
    try {
      co_await send(std::move(method), std::move(path), std::move(params));
    } catch (const ApiError& error) {
      std::string text = fmt::format("{} {}", error.status, error.message);
      for (const auto& [name, message] : error.errors)
        text += fmt::format("|{}: {}", name, message);
      co_return text;
    }
    co_return "";
  }
  /// Of a VM's route.
  awaitable<std::string> refusal(std::string method, std::string path, Params params = {}) {
    co_return co_await refused(std::move(method), "/nodes/pve1/qemu" + std::move(path),
                               std::move(params));
  }
  awaitable<std::string> option(int vmid, std::string name) {
    const json::value config = co_await vm("GET", fmt::format("/{}/config", vmid));
    co_return json::text_or(config, name);
  }

  void put_file(const std::string& volume, const std::string& bytes) {
    std::ofstream{storages_.resolve(volume).path} << bytes;
  }
  std::filesystem::path path(const std::string& volume) { return storages_.resolve(volume).path; }
  std::filesystem::path spool_folder() const { return storages_.spool_folder(); }

 private:
  asio::thread_pool threads_{2};
  State state_;
  Tasks tasks_;
  Storages storages_;
  ClusterVms cluster_vms_;
  Router router_;

 public:
  Vms vms;
  Sdn sdn;
  Firewall firewall;

 private:
  std::unique_ptr<NetworkMaker> make_networks(bool real) {
    if (!real) return std::make_unique<SimulatedNetworks>();
    return std::make_unique<Networks>(sdn, firewall, threads_, state_.path("network"),
                                      std::vector<RunningMachine>{});
  }

  std::unique_ptr<NetworkMaker> networks_;
  Cluster cluster_;
};

/// Hands `use` the routes of a node with simulated machines, on a directory or a fresh one.
template <class Use>
void with_node(const std::filesystem::path& directory, Use use) {
  auto body = [](const std::filesystem::path& at, Use& action) -> awaitable<void> {
    const Simulation simulation;
    VmApi api{co_await asio::this_coro::executor, at, simulated_machines(simulation)};
    co_await action(api);
  };
  px::testing::run(body(directory, use));
}

template <class Use>
void with_node(Use use) {
  const TemporaryDirectory directory;
  with_node(directory.path, std::move(use));
}

/// Runs `use` with an API whose disks are real, though its machines are not.
template <class Use>
void with_disks(Use use) {
  const TemporaryDirectory directory;
  auto body = [](const std::filesystem::path& at, Use& action) -> awaitable<void> {
    const Simulation simulation;
    auto hardware = simulated_machines(simulation);
    hardware.disks = std::make_shared<QemuDisks>();
    VmApi api{co_await asio::this_coro::executor, at, std::move(hardware)};
    co_await action(api);
    EXPECT_TRUE(std::filesystem::is_empty(api.spool_folder())) << "something is left half-way";
  };
  px::testing::run(body(directory.path, use));
}

}  // namespace px::node::testing
