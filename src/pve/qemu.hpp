#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/tasks.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

/// VMs: /nodes/{node}/qemu. Source: qemu-server API2/Qemu.pm; facts measured on PVE 9.2.
///
/// What starts a task returns its UPID, is never sent twice when it may have taken effect, and
/// waits out locks until the deadline; give the UPID to wait_for_task().
namespace px::pve::qemu {

struct VmSummary {
  Vmid vmid;
  std::string name;
  std::vector<std::string> tags;
  std::string status;  ///< running, stopped
  bool is_template = false;
  std::string lock;
  std::int64_t memory = 0;  ///< bytes that it may have
};
/// All VMs of a node that the caller may see, from their configurations (fresh).
awaitable<std::vector<VmSummary>> list(Client& client, NodeName node);

struct VmConfigMap {
  std::map<std::string, std::string> values;  ///< option -> text as in the file, without digest
  std::string digest;
  /// Empty when unset.
  std::string get(std::string_view option) const;
};
/// Whether an option is a network card: net0, net1...
bool is_card(std::string_view option) noexcept;
/// The configuration, with pending changes applied.
awaitable<VmConfigMap> config(Client& client, VmRef vm);
/// The same; nothing for a VM that is not there.
awaitable<std::optional<VmConfigMap>> config_if_there(Client& client, VmRef vm);

struct VmStatus {
  bool running = false;
  std::string qmp_status;  ///< QEMU's run state: running, paused, io-error... or stopped
  std::string lock;
  bool agent_configured = false;
  bool is_template = false;
  std::int64_t uptime = 0;  ///< seconds
  /// Percent of the last 10 s in which a thread of the VM was ready and had no processor of the
  /// node (Linux PSI, cpu "some"); 0 from servers before Proxmox VE 9, which don't tell.
  double cpu_pressure = 0;
};
/// Errc::not_found for a VM that is not there.
awaitable<VmStatus> status(Client& client, VmRef vm, CallOptions options = {});

/// Makes a VM; `config` as the API takes it (memory, scsi0, net0...). already_exists: the id is
/// taken, here or as the end of the task.
awaitable<Upid> create(Client& client, VmRef vm, Params config, Deadline deadline);

/// Restores a vzdump archive under a free id; `config` wins over what it says. already_exists: the
/// id is taken, here or as the end of the task.
awaitable<Upid> restore(Client& client, VmRef vm, VolumeId archive, Params config,
                        Deadline deadline);

struct Clone {
  Vmid new_id;
  std::string name{};
  std::string description{};
  std::string pool{};
  std::optional<bool> full{};          ///< unset: linked for a template, else full
  std::optional<StorageId> storage{};  ///< full clones only
  std::optional<std::string> snapshot{};
  std::optional<NodeName> target{};  ///< another node, on shared storage
};
/// Copies a VM and waits for the end. It waits itself because the task carries the id of the
/// source, so that a lost answer can't be found in the task list: then the copy's own
/// configuration (its name and description, its lock) tells. already_exists: the id is taken.
awaitable<void> clone(Client& client, VmRef source, Clone what, Deadline deadline);

/// Turns a stopped VM into a template, for good.
awaitable<Upid> make_template(Client& client, VmRef vm, Deadline deadline);

/// Sets (and with `delete`, unsets) options at once; what can't change while running becomes
/// pending. Setting the same twice is harmless, so it is repeated when its answer is lost.
awaitable<void> set_config(Client& client, VmRef vm, Params changes, Deadline deadline);

/// The same for changes that take long, as disks that are imported (`import-from`). Sent once: the
/// disk of a second one would be another disk.
awaitable<Upid> set_config_in_task(Client& client, VmRef vm, Params changes, Deadline deadline);
/// Sets options if the configuration still is the one that has `digest`; else false. Several who
/// try this at once with the same digest: one of them gets true.
awaitable<bool> set_config_if_unchanged(Client& client, VmRef vm, Params changes,
                                        std::string digest, Deadline deadline);

/// Grows a disk to `gib` GiB. Errc::rejected for one that is larger.
awaitable<Upid> resize(Client& client, VmRef vm, std::string disk, int gib, Deadline deadline);

awaitable<Upid> start(Client& client, VmRef vm, Deadline deadline);
/// Pulls the plug. Fine for a stopped VM.
awaitable<Upid> stop(Client& client, VmRef vm, Deadline deadline);
/// Asks the guest to shut down, and pulls the plug after `patience` when `force`.
awaitable<Upid> shutdown(Client& client, VmRef vm, std::chrono::seconds patience, bool force,
                         Deadline deadline);
/// Removes a stopped VM with its disks, and every mention of it (purge).
awaitable<Upid> destroy(Client& client, VmRef vm, Deadline deadline);

/// `/nodes/NODE/qemu/VMID` + `rest`.
std::string path_of(const VmRef& vm, std::string_view rest = {});
/// Tags as the API writes them (`a;b`), split. Also takes commas and blanks.
std::vector<std::string> split_tags(std::string_view text);

}  // namespace px::pve::qemu
