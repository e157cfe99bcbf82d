#pragma once
#include "node/vm/routes.hpp"

#include <map>

namespace px::node {

/// What a terminal's client sends: pieces of input, sizes of its window and signs of life, one
/// after the other, cut anywhere. Source: pve-xtermjs termproxy, pve-facts section 13.
class TerminalInput {
 public:
  /// The bytes for the guest in `message`. Throws Error{protocol} for what is no such message.
  std::string add(std::string_view message);

 private:
  std::string rest_;
};

/// /nodes/{node}/qemu/{vmid}/termproxy and vncwebsocket: terminals on serial ports.
/// Source: qemu-server API2/Qemu.pm; exchange 13.
class ConsoleRoutes : public std::enable_shared_from_this<ConsoleRoutes> {
 public:
  explicit ConsoleRoutes(VmServices services) : services_{services} {}
  void add_routes(Router& router);

 private:
  struct Terminal;
  using TerminalPtr = std::shared_ptr<Terminal>;

  awaitable<json::value> open(Call& call);
  awaitable<json::value> check(Call& call);
  awaitable<void> attend(TerminalPtr terminal);
  awaitable<void> talk(Call& call, Messages& messages);
  awaitable<void> use(Messages& messages, Terminal& terminal);
  TerminalPtr terminal_of(const Call& call) const;

  VmServices services_;
  std::map<int, TerminalPtr> terminals_;  ///< by their ports
};

}  // namespace px::node
