#include "node/vm_api.hpp"

#include "node/backup/backup_routes.hpp"
#include "node/firewall/address_name_routes.hpp"
#include "node/firewall/firewall_routes.hpp"
#include "node/network/sdn_routes.hpp"
#include "node/storage/transfer_routes.hpp"
#include "node/vm/routes.hpp"

#include <fstream>

namespace px::node::testing {

VmApi::VmApi(const asio::any_io_executor& executor, const std::filesystem::path& directory,
             VmHardware hardware, bool real_networks)
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

VmApi::~VmApi() = default;

awaitable<json::value> VmApi::send(std::string method, std::string path, Params params) {
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

awaitable<json::value> VmApi::vm(std::string method, std::string path, Params params) {
  co_return co_await send(std::move(method), "/nodes/pve1/qemu" + std::move(path),
                          std::move(params));
}

awaitable<std::string> VmApi::task(std::string method, std::string path, Params params) {
  const json::value upid = co_await vm(std::move(method), std::move(path), std::move(params));
  co_return co_await end_of(upid);
}

awaitable<std::string> VmApi::end_of(json::value upid) {
  const std::string at = "/nodes/pve1/tasks/" + std::string{upid.as_string()} + "/status";
  for (;;) {
    const json::value status = co_await send("GET", at);
    if (json::text_or(status, "status") == "stopped") {
      co_return json::text_or(status, "exitstatus");
    }
    co_await sleep_for(std::chrono::milliseconds{2});
  }
}

awaitable<std::string> VmApi::refused(std::string method, std::string path, Params params) {
  try {
    co_await send(std::move(method), std::move(path), std::move(params));
  } catch (const ApiError& error) {
    std::string text = fmt::format("{} {}", error.status, error.message);
    for (const auto& [name, message] : error.errors) text += fmt::format("|{}: {}", name, message);
    co_return text;
  }
  co_return "";
}

awaitable<std::string> VmApi::refusal(std::string method, std::string path, Params params) {
  co_return co_await refused(std::move(method), "/nodes/pve1/qemu" + std::move(path),
                             std::move(params));
}

awaitable<std::string> VmApi::option(int vmid, std::string name) {
  const json::value config = co_await vm("GET", fmt::format("/{}/config", vmid));
  co_return json::text_or(config, name);
}

void VmApi::put_file(const std::string& volume, const std::string& bytes) {
  std::ofstream{storages_.resolve(volume).path} << bytes;
}

std::filesystem::path VmApi::path(const std::string& volume) const {
  return storages_.resolve(volume).path;
}

std::filesystem::path VmApi::spool_folder() const {
  return storages_.spool_folder();
}

std::unique_ptr<NetworkMaker> VmApi::make_networks(bool real) {
  if (!real) return std::make_unique<SimulatedNetworks>();
  return std::make_unique<Networks>(sdn, firewall, threads_, state_.path("network"),
                                    std::vector<RunningMachine>{});
}

namespace {

awaitable<void> use_api(const std::filesystem::path& directory, VmHardware hardware,
                        const ApiTest& use, bool leaves_nothing) {
  VmApi api{co_await asio::this_coro::executor, directory, std::move(hardware)};
  co_await use(api);
  if (!leaves_nothing) co_return;
  EXPECT_TRUE(std::filesystem::is_empty(api.spool_folder())) << "something is left half-way";
}

}  // namespace

void with_node(const std::filesystem::path& directory, const ApiTest& use) {
  const Simulation simulation;
  px::testing::run(use_api(directory, simulated_machines(simulation), use, false));
}

void with_node(const ApiTest& use) {
  const TemporaryDirectory directory;
  with_node(directory.path(), use);
}

void with_disks(const ApiTest& use) {
  const TemporaryDirectory directory;
  const Simulation simulation;
  auto hardware = simulated_machines(simulation);
  hardware.disks = std::make_shared<QemuDisks>();
  px::testing::run(use_api(directory.path(), std::move(hardware), use, true));
}

}  // namespace px::node::testing
