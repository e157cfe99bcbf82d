#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/qemu.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>

/// The serial console of a VM: termproxy and vncwebsocket. Source: qemu-server API2/Qemu.pm,
/// pve-facts section 13.
namespace px::pve::console {

/// The first serial port that a terminal can be opened on, `serialN: socket`; nothing without one.
std::optional<int> port_of(const qemu::VmConfigMap& config);

/// What the server's terminal says before the guest's own bytes: "OK", and a line that names the
/// port, in pieces of any size.
class Greeting {
 public:
  /// The part of `bytes` that is the guest's. Throws Error{unavailable} with the terminal's words
  /// when it says something else: the VM has no such port, or does not run.
  std::string_view after(std::string_view bytes);

 private:
  std::string said_;
  bool over_ = false;
};

/// Hands on what the VM prints on its console from now on, until `limit` or until the terminal
/// ends; at once when the VM has no console. It types nothing. What was printed before is not to be
/// had, and while somebody else has the console open, nothing comes: QEMU's port has one client.
///
/// Needs VM.Console. Errors: those of the calls, and of Greeting.
awaitable<void> listen(Client& client, VmRef vm, std::function<void(std::string_view)> print,
                       Deadline limit);

}  // namespace px::pve::console
