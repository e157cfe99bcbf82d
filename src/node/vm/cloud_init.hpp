#pragma once
#include "node/vm/vm_config.hpp"

#include <map>
#include <optional>
#include <string>

/// What a VM's cloud-init drive holds, as texts. Pure. Source: qemu-server Cloudinit.pm.
///
/// Unlike the real server, a VM without `nameserver` and `searchdomain` is not given those of the
/// host: the networks of this node do not lead to them, and its DHCP names its own.
namespace px::node {

/// The volume of a VM's cloud-init drive: its folder and file, without the storage.
std::string cloud_init_volume(int vmid);
/// Whether the drive holds that volume.
bool is_cloud_init_drive(int vmid, const Drive& drive);
/// Whether the drive asks for one: `STORAGE:cloudinit`.
bool wants_cloud_init(const Drive& drive);
/// The drive that holds or asks for the VM's, e.g. `ide2`.
std::optional<Drive> find_cloud_init_drive(int vmid, const Options& options);

/// Those of the options that the drive is made of.
Options cloud_init_options(const Options& options);

/// The texts that Proxmox VE makes of the options.
struct CloudInitTexts {
  std::string user;
  std::string network;
  std::string meta;
  std::string vendor;
};
/// Throws Error{rejected} for an address that is none.
CloudInitTexts cloud_init_texts(const Options& options, int vmid);

/// An image's label and its files by path.
struct CloudInitImage {
  std::string label;
  std::map<std::string, std::string> files;
};
/// `custom` replaces texts: contents by the keys of `cicustom` (user, network, meta, vendor).
/// Throws Error{rejected}, also for more than 3 MiB of texts.
CloudInitImage cloud_init_image(const Options& options, int vmid,
                                const std::map<std::string, std::string>& custom);

}  // namespace px::node
