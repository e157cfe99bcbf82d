#pragma once
#include "node/vm/routes.hpp"

namespace px::node {

/// /nodes/{node}/qemu/{vmid}/status/*: what a VM does, and power.
/// Source: qemu-server API2/Qemu.pm; exchanges 04 and 09.
class PowerRoutes : public std::enable_shared_from_this<PowerRoutes> {
 public:
  explicit PowerRoutes(VmServices services) : services_{services} {}
  void add_routes(Router& router);

 private:
  awaitable<json::value> index(Call& call);
  awaitable<json::value> current(Call& call);
  awaitable<json::value> start(Call& call);
  awaitable<json::value> stop(Call& call);
  awaitable<json::value> shutdown(Call& call);
  awaitable<json::value> reboot(Call& call);
  awaitable<json::value> reset(Call& call);
  awaitable<json::value> suspend(Call& call);
  awaitable<json::value> resume(Call& call);
  VmPtr running(const Call& call) const;

  VmServices services_;
};

}  // namespace px::node
