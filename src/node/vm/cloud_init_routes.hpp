#pragma once
#include "node/vm/cloud_init_drive.hpp"

namespace px::node {

/// /nodes/{node}/qemu/{vmid}/cloudinit and .../cloudinit/dump.
/// Source: qemu-server API2/Qemu.pm.
class CloudInitRoutes : public std::enable_shared_from_this<CloudInitRoutes> {
 public:
  explicit CloudInitRoutes(VmServices services) : services_{services}, drive_{services_} {}
  void add_routes(Router& router);

 private:
  awaitable<json::value> pending(Call& call);
  awaitable<json::value> regenerate(Call& call);
  awaitable<json::value> dump(Call& call);

  VmServices services_;
  CloudInitDrive drive_;
};

}  // namespace px::node
