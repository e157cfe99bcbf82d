#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

/// The firewall: /cluster/firewall and /nodes/{node}/qemu/{vmid}/firewall. Source: pve-firewall
/// API2/Firewall/*.pm; calls checked on PVE 9.2 (pve-facts section 12, pve-practice section 6).
///
/// What is written holds at once in the configuration; the server's daemon puts it into force
/// within 10 s (pve-firewall) or 5 s (proxmox-firewall). Nothing of a VM is filtered unless the
/// datacenter's `enable` is on, the VM's is, and its card has `firewall=1`.
namespace px::pve::firewall {

/// The datacenter's switch. Needs Sys.Audit on /.
awaitable<bool> is_enabled(Client& client);
/// Switches it on and leaves the nodes themselves open (`policy_in` ACCEPT): its default would shut
/// out everyone who does not come from the node's own network (pve-practice section 6). Arms every
/// VM that is set up for it. Needs Sys.Modify on /.
awaitable<void> enable(Client& client);

/// What switching it on would bring into force beside our own rules.
struct Dormant {
  std::string policy_in;       ///< as set for the datacenter; empty when unset
  std::size_t datacenter = 0;  ///< rules of the datacenter that are not disabled
  std::size_t nodes = 0;       ///< rules of the nodes, likewise
};
/// Needs Sys.Audit on / and on the nodes.
awaitable<Dormant> dormant(Client& client, std::vector<NodeName> nodes);

/// One line; the first that fits decides.
struct Rule {
  std::string type;      ///< in, out (as the guest sees it), group
  std::string action;    ///< ACCEPT, DROP, REJECT; the group's name
  std::string source{};  ///< addresses and networks with commas between, of one family
  std::string dest{};
  std::string proto{};  ///< tcp, udp
  std::string dport{};  ///< "443", "8000:8010", with commas between
  std::string iface{};  ///< net0; empty: all cards
};

/// --- security groups: rules that many VMs share ------------------------------------------------

struct Group {
  std::string name;  ///< 2..18 letters, digits, - and _, a letter first
  std::string comment;
};
awaitable<std::vector<Group>> groups(Client& client);
/// With these rules, in this order. already_exists: take another name. What it made of a group is
/// left when it fails. Needs Sys.Modify on /.
awaitable<void> create_group(Client& client, Group group, std::vector<Rule> rules,
                             Deadline deadline);
/// With its rules; fine when it is gone.
awaitable<void> remove_group(Client& client, std::string name, Deadline deadline);

/// --- of one VM ---------------------------------------------------------------------------------

/// A VM's own switch. Needs VM.Audit.
awaitable<bool> is_enabled_for(Client& client, VmRef vm);

/// Lets through only what a rule allows, and IPv6's neighbour discovery; its cards send by their
/// own MAC only. Rules that the VM has already come after these. The VM takes all of it along
/// when it is destroyed. Needs VM.Config.Network.
awaitable<void> guard(Client& client, VmRef vm, std::vector<Rule> rules, Deadline deadline);

}  // namespace px::pve::firewall
