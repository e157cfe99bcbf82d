#pragma once
#include "network/sets.hpp"
#include "pve/nodes.hpp"
#include "sandbox/sandbox.hpp"

#include <string>
#include <string_view>
#include <vector>

/// Whether closed networks keep their promise, tried from inside a guest: `verify_isolation`.
namespace px::sandbox {

/// A TCP port that a guest of closed networks must get no answer from, no refusal either.
struct Forbidden {
  std::string address;
  int port = 0;
  std::string what;  ///< "its gateway", for messages
};

/// What the server's lists name: its own addresses, the gateways of the set and of others, the
/// metadata services' address; the internet where the set is closed off from it. Without what
/// `egress` names, and what is the guest's own.
std::vector<Forbidden> forbidden_for(const network::NetworkSet& set,
                                     const std::vector<pve::nodes::NetworkInterface>& interfaces,
                                     const std::vector<pve::sdn::Subnet>& others, int api_port);

/// The link-local addresses of the gateways' bridges, by their MAC addresses in the guest's
/// /proc/net/arp; a bridge makes its address of its MAC (EUI-64, RFC 4291 appendix A).
std::vector<Forbidden> link_local_of(const network::NetworkSet& set, std::string_view arp,
                                     int api_port);

/// Shell text for the guest: reads lines of `ADDRESS PORT`, and prints those that answer with
/// `open` or `refused`. Needs timeout, and bash or nc; else its status is 3.
std::string_view probe_script() noexcept;

/// "10.1.0.1 port 8006 (its gateway) is open", for each line `ADDRESS PORT open|refused` of the
/// probe's output.
std::vector<std::string> reached(const std::vector<Forbidden>& forbidden, std::string_view output);

/// Tries from inside the first sandbox of the sample that is in a closed network with a subnet.
/// What is reached is tried again for 20 s, for a real server's daemon needs up to 10 s to put new
/// rules into force. Errors: unsupported naming what was reached, or that the guest has no program
/// to try it with (bash or nc, and timeout). A sample without such a sandbox is only logged.
awaitable<void> verify_isolation(Host& host, const network::NetworkSet& set,
                                 const std::vector<std::shared_ptr<Vm>>& vms);

}  // namespace px::sandbox
