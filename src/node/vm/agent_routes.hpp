#pragma once
#include "node/vm/routes.hpp"

namespace px::node {

/// /nodes/{node}/qemu/{vmid}/agent/*: commands and files in the guest, with all of the real
/// server's ways (pve-facts section 9): the end of a command is told once, bytes are characters
/// U+0000..U+00FF, and a text with a wider one breaks things.
/// Source: qemu-server API2/Qemu/Agent.pm; exchanges 05, 06, 07.
class AgentRoutes : public std::enable_shared_from_this<AgentRoutes> {
 public:
  explicit AgentRoutes(VmServices services) : services_{services} {}
  void add_routes(Router& router);

 private:
  awaitable<json::value> index(Call& call);
  awaitable<json::value> any_command(Call& call);
  awaitable<json::value> exec(Call& call);
  awaitable<json::value> exec_status(Call& call);
  awaitable<json::value> file_read(Call& call);
  awaitable<json::value> file_write(Call& call);

  /// The VM, once its agent has answered a ping. Throws the real server's errors.
  awaitable<VmPtr> ready(const Call& call) const;
  awaitable<json::value> run(VmPtr vm, std::string command, json::object arguments = {}) const;
  awaitable<json::value> simple(VmPtr vm, std::string name) const;
  awaitable<json::value> read_file(VmPtr vm, const Call& call, std::int64_t handle) const;
  awaitable<void> close_file(VmPtr vm, std::int64_t handle) const;

  VmServices services_;
};

}  // namespace px::node
