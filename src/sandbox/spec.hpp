#pragma once
#include "network/plan.hpp"
#include "sandbox/cloud_init_spec.hpp"
#include "support/secret.hpp"

#include <boost/json.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// A sample's world as Python hands it over: the JSON of ProxmoxSandboxEnvironmentConfig
/// (python/proxmoxsandbox/schema.py), checked whole before anything is created.
namespace px::sandbox {

/// Where a VM's disk comes from: exactly one is set.
struct VmSourceSpec {
  std::optional<std::string> built_in;
  std::optional<std::string> ova;       ///< a file of this machine, or a URL
  std::optional<std::string> disk;      ///< a file of this machine, or a URL
  std::optional<std::string> iso;       ///< a file of this machine, a URL, or a server's volume
  std::optional<std::string> checksum;  ///< of the file behind `ova`, `disk` or `iso`
  std::optional<std::string> existing_vm_template_tag;
  std::optional<std::string> existing_backup_name;

  /// "built_in debian13-small", for messages.
  std::string text() const;
};

struct VmSpec {
  VmSourceSpec vm_source_config;
  std::optional<std::string> name;  ///< DNS name
  int ram_mb = 2048;                ///< 16..4'194'304
  int vcpus = 2;                    ///< 1..512
  std::optional<std::vector<network::NicConfig>> nics;
  bool is_sandbox = true;
  bool uefi_boot = false;
  std::optional<std::string> disk_controller;  ///< scsi, ide
  std::optional<std::string> nic_controller;   ///< virtio, e1000
  bool firewall = false;
  std::string os_type = "l26";
  std::optional<std::string> cpu;  ///< none = host
  bool await_before_next_vm = false;
  std::optional<std::string> user;     ///< default user in the guest; none = root
  std::optional<int> disk_gb;          ///< GiB of the disk that boots, at least; 1..131'072
  bool full_clone = false;             ///< its own copy of the template's disks
  bool tpm = false;                    ///< a TPM 2.0 of its own
  bool secure_boot = false;            ///< with Microsoft's keys; needs uefi_boot
  std::optional<std::string> machine;  ///< pc, q35, or one of these with a version
  std::optional<std::string> pool;     ///< resource pool that it is made in
  std::optional<std::string> storage;  ///< of its disks; none = the instance's
  std::optional<CloudInitSpec> cloud_init;
  json::object extra_proxmox_native_config;  ///< texts, numbers, booleans

  std::string field;                         ///< "vms_config[0]", for messages
  std::vector<std::string> source_networks;  ///< of an OVA's cards, in their order
  /// From `nics`: the cards that it has; none = those of its template stay.
  std::optional<std::vector<network::Card>> cards;
  /// From `cloud_init` and `name`.
  std::shared_ptr<const image::SeedImage> seed;
};

/// By its os_type, as Proxmox VE tells it: w2k8, win10, ...
bool is_windows(const VmSpec& vm);

/// Connection data that the first version of the provider took in the configuration; each one
/// given here wins over the environment for this sample.
struct InstanceOverrides {
  std::optional<std::string> host;
  std::optional<int> port;
  std::optional<std::string> user;
  std::optional<std::string> user_realm;
  Secret password;
  std::optional<std::string> node;
  std::optional<bool> verify_tls;
  std::optional<std::string> image_storage;

  bool any() const noexcept;
};

struct Spec {
  std::string instance_pool_id = "default";
  InstanceOverrides overrides;
  network::Plan networks;
  std::vector<VmSpec> vms;  ///< at least one with is_sandbox
  /// Without a firewall that works nothing starts, and what is closed is tried from inside a guest.
  bool verify_isolation = false;
};

/// Reads and checks; of an OVA (also in the web: fetch_sources()) its headers, for what the
/// configuration leaves out is as it says: blocks for that long (run_in_pool()). Throws
/// Error{bad_input} naming the field, its value and what would be right; Error{unsupported} for
/// what this version can't do.
Spec parse_spec(std::string_view json_text);

}  // namespace px::sandbox
