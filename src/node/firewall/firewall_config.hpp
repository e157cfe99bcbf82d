#pragma once
#include "node/state.hpp"
#include "support/json.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace px::node {

/// Rules in their order; each by the names of the API's parameters, with `ipversion` where its
/// addresses have one.
using FirewallRules = std::vector<json::object>;

struct IpSet {
  std::string comment;
  std::vector<json::object> entries;  ///< cidr, nomatch, comment; the newest first
};

struct SecurityGroup {
  std::string comment;
  FirewallRules rules;
};

/// What one of Proxmox VE's .fw files holds: the datacenter's, a node's, a VM's or a VNet's.
struct FirewallFile {
  json::object options;
  FirewallRules rules;
  std::map<std::string, json::object> aliases;  ///< by name in lower case: name, cidr, comment
  std::map<std::string, IpSet> ipsets;
  std::map<std::string, SecurityGroup> groups;  ///< in the datacenter's only

  json::object to_json() const;
  static FirewallFile from_json(const json::value& stored);
  bool empty() const;
};

/// As Proxmox VE computes them: SHA-1 of "name:value" lines, by name. (pve-firewall Firewall.pm,
/// copy_opject_with_digest and copy_list_with_digest)
std::string firewall_digest(const json::object& object);
std::string firewall_digest(const std::vector<json::object>& list);

/// The files of a cluster's firewall, each in a file of the state directory.
class Firewall {
 public:
  /// `armed`: the datacenter's firewall of a new node is on, with the node itself left open; else
  /// it is as Proxmox VE is installed: nothing is set, so nothing is filtered.
  Firewall(State& state, bool armed);

  static std::string datacenter_name() { return "cluster"; }
  static std::string node_name() { return "host"; }
  static std::string vm_name(int vmid);
  static std::string vnet_name(const std::string& vnet);

  /// An empty one where nothing was ever set.
  const FirewallFile& file(const std::string& name) const;
  const FirewallFile& datacenter() const { return file(datacenter_name()); }
  const FirewallFile& of_vm(int vmid) const { return file(vm_name(vmid)); }

  /// Of all files that hold something.
  std::vector<std::string> names() const;

  /// Changes a file, as a whole or, when `change` throws, not at all.
  void change(const std::string& name, const std::function<void(FirewallFile&)>& change);
  /// A clone gets what its source has. (pve-firewall Helpers.pm, clone_vmfw_conf)
  void copy_vm(int source, int target);
  void remove_vm(int vmid);

 private:
  void store(const std::string& name, FirewallFile file);

  State& state_;
  std::map<std::string, FirewallFile> files_;
};

}  // namespace px::node
