#pragma once
#include "node/vm/cloud_init_drive.hpp"
#include "node/vm/config_change.hpp"
#include "node/vm/volumes.hpp"

namespace px::node {

/// /nodes/{node}/qemu/{vmid}/{config,pending,resize,unlink}.
/// Source: qemu-server API2/Qemu.pm; exchanges 08 and 22.
class ConfigRoutes : public std::enable_shared_from_this<ConfigRoutes> {
 public:
  explicit ConfigRoutes(VmServices services)
      : services_{services}, volumes_{services_}, cloud_init_{services_} {}
  void add_routes(Router& router);

 private:
  struct Request;

  awaitable<json::value> read(Call& call);
  awaitable<json::value> pending(Call& call);
  awaitable<json::value> write(Call& call);
  awaitable<json::value> write_in_task(Call& call);
  awaitable<json::value> resize(Call& call);
  awaitable<json::value> unlink(Call& call);

  Request request_of(const Call& call, const Options& before) const;
  awaitable<void> make_disks(int vmid, Request& request, std::vector<std::string>& made,
                             TaskLog& log);
  awaitable<void> drop_disks(std::vector<std::string> made);
  /// The caller holds the lock.
  awaitable<void> apply(VmPtr vm, Request request, TaskLog& log);
  awaitable<std::map<std::string, std::string>> apply_steps(
      VmPtr vm, std::vector<HotplugStep> steps, std::map<std::string, std::string> failures);
  void enter_network(const Vm& vm, const std::string& nic, const Options& after);
  awaitable<void> take(VmPtr vm, HotplugStep step);
  awaitable<void> keep_disk(VmPtr vm, std::string name, Request& request, TaskLog& log);
  void keep_replaced_disks(const Vm& vm, Request& request) const;

  VmServices services_;
  Volumes volumes_;
  CloudInitDrive cloud_init_;
};

}  // namespace px::node
