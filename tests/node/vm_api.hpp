#pragma once
#include "node/cluster.hpp"
#include "node/firewall/firewall_config.hpp"
#include "node/network/networks.hpp"
#include "node/network/sdn.hpp"
#include "node/route.hpp"
#include "node/state.hpp"
#include "node/tasks.hpp"
#include "node/vm/vms.hpp"
#include "run.hpp"
#include "support/bytes.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>

namespace px::node::testing {

using px::testing::TemporaryDirectory;
using Params = std::vector<std::pair<std::string, std::string>>;

/// The VM routes without the HTTP server around them.
class VmApi {
 public:
  VmApi(const asio::any_io_executor& executor, const std::filesystem::path& directory,
        VmHardware hardware, bool real_networks = false);
  ~VmApi();

  /// Who asks.
  std::string user = "root@pam";
  /// The answer's `data`; throws ApiError.
  awaitable<json::value> send(std::string method, std::string path, Params params = {});
  awaitable<json::value> vm(std::string method, std::string path, Params params = {});
  /// Sends what starts a task, waits for its end, and returns its exit status.
  awaitable<std::string> task(std::string method, std::string path, Params params = {});
  awaitable<std::string> end_of(json::value upid);
  /// The message of a refused request, with its status and the parameters' messages; "" when it was
  /// not refused.
  awaitable<std::string> refused(std::string method, std::string path, Params params = {});
  /// Of a VM's route.
  awaitable<std::string> refusal(std::string method, std::string path, Params params = {});
  awaitable<std::string> option(int vmid, std::string name);

  void put_file(const std::string& volume, const std::string& bytes);
  std::filesystem::path path(const std::string& volume) const;
  std::filesystem::path spool_folder() const;

 private:
  std::unique_ptr<NetworkMaker> make_networks(bool real);

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
  std::unique_ptr<NetworkMaker> networks_;
  Cluster cluster_;
};

using ApiTest = std::function<awaitable<void>(VmApi&)>;

/// Hands `use` the routes of a node with simulated machines, on a directory or a fresh one.
void with_node(const std::filesystem::path& directory, const ApiTest& use);
void with_node(const ApiTest& use);
/// Runs `use` with an API whose disks are real, though its machines are not.
void with_disks(const ApiTest& use);

}  // namespace px::node::testing
