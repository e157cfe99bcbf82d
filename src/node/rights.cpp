#include "node/rights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace px::node {

namespace {

constexpr std::string_view vm = "/vms/{vmid}";
constexpr std::string_view audit_agent = "VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted";
constexpr std::string_view freeze_disks = "VM.GuestAgent.FileSystemMgmt|VM.GuestAgent.Unrestricted";
constexpr std::string_view power_by_agent = "VM.PowerMgmt|VM.GuestAgent.Unrestricted";
constexpr std::string_view change_vm =
    "VM.Config.Disk|VM.Config.CDROM|VM.Config.CPU|VM.Config.Memory|VM.Config.Network|"
    "VM.Config.HWType|VM.Config.Options|VM.Config.Cloudinit";
constexpr std::string_view sdn_zone = "/sdn/zones/{zone}";
constexpr std::string_view sdn_vnet = "/sdn/zones/{zone}/{vnet}";
constexpr std::string_view vm_network = "VM.Config.Network";
constexpr std::string_view see_storage = "Datastore.Audit|Datastore.AllocateSpace";

/// `permissions` of api-schema.json; tests/api compares.
constexpr std::array rights{
    Right{"GET", "/nodes/{node}/status", "/nodes/{node}", "Sys.Audit"},
    Right{"GET", "/cluster/status", "/", "Sys.Audit"},
    Right{"POST", "/pools", "/pool/{poolid}", "Pool.Allocate"},
    Right{"PUT", "/pools", "/pool/{poolid}", "Pool.Allocate"},
    Right{"DELETE", "/pools", "/pool/{poolid}", "Pool.Allocate"},
    Right{"GET", "/pools/{poolid}", "/pool/{poolid}", "Pool.Audit"},
    Right{"PUT", "/pools/{poolid}", "/pool/{poolid}", "Pool.Allocate"},
    Right{"DELETE", "/pools/{poolid}", "/pool/{poolid}", "Pool.Allocate"},
    Right{"GET", "/cluster/sdn", "/sdn", "SDN.Audit"},
    Right{"PUT", "/cluster/sdn", "/sdn", "SDN.Allocate"},
    Right{"POST", "/cluster/sdn/lock", "/sdn", "SDN.Allocate"},
    Right{"DELETE", "/cluster/sdn/lock", "/sdn", "SDN.Allocate"},
    Right{"POST", "/cluster/sdn/rollback", "/sdn", "SDN.Allocate"},
    Right{"POST", "/cluster/sdn/zones", "/sdn/zones", "SDN.Allocate"},
    Right{"GET", "/cluster/sdn/zones/{zone}", sdn_zone, "SDN.Allocate"},
    Right{"PUT", "/cluster/sdn/zones/{zone}", sdn_zone, "SDN.Allocate"},
    Right{"DELETE", "/cluster/sdn/zones/{zone}", sdn_zone, "SDN.Allocate"},
    Right{"POST", "/cluster/sdn/vnets", sdn_zone, "SDN.Allocate"},
    Right{"POST", "/cluster/sdn/vnets/{vnet}/ips", sdn_vnet, "SDN.Allocate"},
    Right{"PUT", "/cluster/sdn/vnets/{vnet}/ips", sdn_vnet, "SDN.Allocate"},
    Right{"DELETE", "/cluster/sdn/vnets/{vnet}/ips", sdn_vnet, "SDN.Allocate"},
    Right{"GET", "/cluster/sdn/ipams/{ipam}", "/sdn/ipams/{ipam}", "SDN.Allocate"},
    Right{"GET", "/nodes/{node}/sdn/zones/{zone}", sdn_zone, "SDN.Audit"},
    Right{"GET", "/nodes/{node}/sdn/zones/{zone}/content", sdn_zone, "SDN.Audit"},
    Right{"GET", "/nodes/{node}/network/{iface}", "/nodes/{node}", "Sys.Audit"},
    Right{"GET", "/storage/{storage}", "/storage/{storage}", "Datastore.Allocate"},
    Right{"GET", "/nodes/{node}/storage/{storage}/status", "/storage/{storage}", see_storage},
    Right{"GET", "/nodes/{node}/storage/{storage}/content", "/storage/{storage}", see_storage},
    Right{"POST", "/nodes/{node}/storage/{storage}/upload", "/storage/{storage}",
          "Datastore.AllocateTemplate"},
    Right{"POST", "/nodes/{node}/storage/{storage}/download-url", "/storage/{storage}",
          "Datastore.AllocateTemplate"},
    Right{"DELETE", "/nodes/{node}/qemu/{vmid}", vm, "VM.Allocate"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/clone", vm, "VM.Clone"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/template", vm, "VM.Allocate"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/config", vm, "VM.Audit"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/pending", vm, "VM.Audit"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/config", vm, change_vm},
    Right{"PUT", "/nodes/{node}/qemu/{vmid}/config", vm, change_vm},
    Right{"PUT", "/nodes/{node}/qemu/{vmid}/resize", vm, "VM.Config.Disk"},
    Right{"PUT", "/nodes/{node}/qemu/{vmid}/unlink", vm, "VM.Config.Disk"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/cloudinit", vm, "VM.Audit"},
    Right{"PUT", "/nodes/{node}/qemu/{vmid}/cloudinit", vm, "VM.Config.Cloudinit"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/cloudinit/dump", vm, "VM.Audit"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/status/current", vm, "VM.Audit"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/status/start", vm, "VM.PowerMgmt"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/status/stop", vm, "VM.PowerMgmt"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/status/shutdown", vm, "VM.PowerMgmt"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/status/reboot", vm, "VM.PowerMgmt"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/status/reset", vm, "VM.PowerMgmt"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/status/suspend", vm, "VM.PowerMgmt"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/status/resume", vm, "VM.PowerMgmt"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/termproxy", vm, "VM.Console"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/vncwebsocket", vm, "VM.Console"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/snapshot", vm, "VM.Audit"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/snapshot", vm, "VM.Snapshot"},
    Right{"DELETE", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", vm, "VM.Snapshot"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config", vm,
          "VM.Snapshot|VM.Snapshot.Rollback|VM.Audit"},
    Right{"PUT", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config", vm, "VM.Snapshot"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback", vm,
          "VM.Snapshot|VM.Snapshot.Rollback"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/ping", vm, audit_agent},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/info", vm, audit_agent},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/get-osinfo", vm, audit_agent},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/get-host-name", vm, audit_agent},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/get-time", vm, audit_agent},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", vm, audit_agent},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent", vm,
          "VM.GuestAgent.Unrestricted|VM.GuestAgent.Unrestricted"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/get-fsinfo", vm, audit_agent},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/get-memory-block-info", vm, audit_agent},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/get-memory-blocks", vm, audit_agent},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/get-timezone", vm, audit_agent},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/get-users", vm, audit_agent},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/get-vcpus", vm, audit_agent},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-freeze", vm, freeze_disks},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-thaw", vm, freeze_disks},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/fstrim", vm, freeze_disks},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-status", vm,
          "VM.GuestAgent.Audit|VM.GuestAgent.FileSystemMgmt|VM.GuestAgent.Unrestricted"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/shutdown", vm, power_by_agent},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/suspend-disk", vm, power_by_agent},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/suspend-hybrid", vm, power_by_agent},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/suspend-ram", vm, power_by_agent},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/exec", vm, "VM.GuestAgent.Unrestricted"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/exec-status", vm, "VM.GuestAgent.Unrestricted"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/agent/file-read", vm,
          "VM.GuestAgent.FileRead|VM.GuestAgent.Unrestricted"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/agent/file-write", vm,
          "VM.GuestAgent.FileWrite|VM.GuestAgent.Unrestricted"},
    Right{"GET", "/cluster/firewall/options", "/", "Sys.Audit"},
    Right{"PUT", "/cluster/firewall/options", "/", "Sys.Modify"},
    Right{"GET", "/cluster/firewall/refs", "/", "Sys.Audit"},
    Right{"POST", "/cluster/firewall/groups", "/", "Sys.Modify"},
    Right{"GET", "/cluster/firewall/groups/{group}", "/", "Sys.Audit"},
    Right{"POST", "/cluster/firewall/groups/{group}", "/", "Sys.Modify"},
    Right{"DELETE", "/cluster/firewall/groups/{group}", "/", "Sys.Modify"},
    Right{"GET", "/cluster/firewall/groups/{group}/{pos}", "/", "Sys.Audit"},
    Right{"PUT", "/cluster/firewall/groups/{group}/{pos}", "/", "Sys.Modify"},
    Right{"DELETE", "/cluster/firewall/groups/{group}/{pos}", "/", "Sys.Modify"},
    Right{"GET", "/nodes/{node}/firewall/options", "/nodes/{node}", "Sys.Audit"},
    Right{"PUT", "/nodes/{node}/firewall/options", "/nodes/{node}", "Sys.Modify"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/firewall/options", vm, "VM.Audit"},
    Right{"PUT", "/nodes/{node}/qemu/{vmid}/firewall/options", vm, vm_network},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/firewall/rules", vm, "VM.Audit"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/firewall/rules", vm, vm_network},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/firewall/rules/{pos}", vm, "VM.Audit"},
    Right{"PUT", "/nodes/{node}/qemu/{vmid}/firewall/rules/{pos}", vm, vm_network},
    Right{"DELETE", "/nodes/{node}/qemu/{vmid}/firewall/rules/{pos}", vm, vm_network},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/firewall/refs", vm, "VM.Audit"},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/firewall/ipset", vm, "VM.Audit"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/firewall/ipset", vm, vm_network},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/firewall/ipset/{name}", vm, "VM.Audit"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/firewall/ipset/{name}", vm, vm_network},
    Right{"DELETE", "/nodes/{node}/qemu/{vmid}/firewall/ipset/{name}", vm, vm_network},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/firewall/ipset/{name}/{cidr}", vm, "VM.Audit"},
    Right{"DELETE", "/nodes/{node}/qemu/{vmid}/firewall/ipset/{name}/{cidr}", vm, vm_network},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/firewall/aliases", vm, "VM.Audit"},
    Right{"POST", "/nodes/{node}/qemu/{vmid}/firewall/aliases", vm, vm_network},
    Right{"GET", "/nodes/{node}/qemu/{vmid}/firewall/aliases/{name}", vm, "VM.Audit"},
    Right{"DELETE", "/nodes/{node}/qemu/{vmid}/firewall/aliases/{name}", vm, vm_network},
};

/// Open to every login (exchange 01).
constexpr std::array open_to_all{std::string_view{"/version"},
                                 std::string_view{"/nodes/{node}/version"},
                                 std::string_view{"/nodes"},
                                 std::string_view{"/cluster/nextid"},
                                 std::string_view{"/cluster/firewall/groups"},
                                 std::string_view{"/nodes/{node}/qemu/{vmid}/firewall"},
                                 std::string_view{"/access/permissions"}};

/// Lists that hold what the caller may see.
constexpr std::array filtered{std::string_view{"/nodes/{node}/qemu"},
                              std::string_view{"/nodes/{node}/tasks"},
                              std::string_view{"/nodes/{node}/storage"},
                              std::string_view{"/cluster/resources"},
                              std::string_view{"/cluster/tasks"},
                              std::string_view{"/cluster/sdn/zones"},
                              std::string_view{"/cluster/sdn/vnets"},
                              std::string_view{"/cluster/sdn/ipams"},
                              std::string_view{"/cluster/sdn/ipams/{ipam}/status"},
                              std::string_view{"/nodes/{node}/network"},
                              std::string_view{"/nodes/{node}/sdn/zones"},
                              std::string_view{"/pools"},
                              std::string_view{"/storage"}};

template <class List>
bool holds(const List& list, std::string_view path) {
  return std::find(list.begin(), list.end(), path) != list.end();
}

/// The object with its placeholders filled.
std::string fill(std::string_view object, const std::map<std::string, std::string>& path_values,
                 const Values& given) {
  std::string out;
  while (!object.empty()) {
    const auto open = std::min(object.find('{'), object.size());
    out += object.substr(0, open);
    object.remove_prefix(open);
    if (object.empty()) break;
    const auto end = object.find('}');
    const std::string name{object.substr(1, end - 1)};
    object.remove_prefix(end + 1);
    if (const auto it = path_values.find(name); it != path_values.end()) {
      out += it->second;
    } else if (const auto parameter = given.find(name); parameter != given.end()) {
      out += parameter->second.back();
    }
  }
  return out;
}

}  // namespace

const Right* right_of(const Route& route) {
  const auto it = std::find_if(rights.begin(), rights.end(), [&](const Right& right) {
    return right.method == route.method && right.route == route.path;
  });
  return it == rights.end() ? nullptr : &*it;
}

bool is_empty_without_rights(const Route& route,
                             const std::map<std::string, std::string>& path_values,
                             const Values& given) {
  if (const auto* right = right_of(route)) {
    throw ApiError{403, fmt::format("Permission check failed ({}, {})\n",
                                    fill(right->object, path_values, given), right->privileges)};
  }
  if (route.method == "GET" && holds(open_to_all, route.path)) return false;
  if (route.method == "GET" && holds(filtered, route.path)) return true;
  throw ApiError{403, "Permission check failed\n"};
}

}  // namespace px::node
