#pragma once
#include "node/vm/vm_context.hpp"

namespace px::node {

/// /nodes/{node}/qemu/{vmid}/status/*: what a VM does, and power.
/// Source: qemu-server API2/Qemu.pm; exchanges 04 and 09.
class PowerRoutes {
 public:
  explicit PowerRoutes(VmContext& context) : context_{context} {}
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

  VmContext& context_;
};

}  // namespace px::node
