#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The descriptor of an appliance, OVF 1.x and 2.0 (DMTF DSP0243), as VMware, VirtualBox, oVirt/RHV
/// and hand-made files write it (docs/images.md). Only text is read here, no other file.
namespace px::image {

enum class Firmware : std::uint8_t { bios, efi };

/// A file that the descriptor names (References/File).
struct OvfFile {
  std::string id;
  std::string href;                   ///< as written
  std::optional<std::uint64_t> size;  ///< bytes, when said
  bool gzip = false;
};

/// A disk in its place.
struct OvfDisk {
  std::string id;
  std::string controller;       ///< ide, sata, scsi, nvme, virtio
  std::string scsi_model;       ///< lower case as written (lsilogic, virtualscsi, ...), or empty
  int controller_number = 0;    ///< among those of its kind, from 0
  int position = 0;             ///< on its controller
  std::uint64_t capacity = 0;   ///< bytes; 0 = not said
  std::string format;           ///< a URI, or what stands there
  std::optional<OvfFile> file;  ///< none: an empty disk of `capacity`
};

struct OvfNic {
  std::string model;    ///< as Proxmox VE calls it: e1000, e1000e, virtio, vmxnet3, rtl8139, pcnet
  std::string said;     ///< ResourceSubType as written, or empty
  std::string network;  ///< the name of the network there, or empty
};

/// A VM as the descriptor says.
struct OvfMachine {
  std::string flavour;  ///< vmware, virtualbox, ovirt, other
  std::string version;  ///< of OVF by its namespace: "1" or "2"
  std::string name;     ///< for people; any text, or empty
  std::optional<int> vcpus;
  std::optional<std::uint64_t> memory_mib;  ///< rounded up
  Firmware firmware = Firmware::bios;
  bool secure_boot = false;
  std::string os_said;            ///< "ubuntu64Guest", "94": what os_type was made of, or empty
  std::string os_type = "other";  ///< Proxmox VE's ostype: l26, win10, ...
  std::vector<OvfDisk> disks;     ///< the one that boots first
  std::vector<OvfNic> nics;
  std::vector<OvfFile> files;         ///< all that are named, also those that no disk uses
  std::vector<std::string> warnings;  ///< what was left out or guessed, a sentence each
};

/// `where` names the text in errors: "box.ova: box.ovf".
/// Throws Error{bad_input}, with the line where there is one, for what is no OVF, holds a DTD, has
/// several virtual systems, an unknown compression, chunks, a number or unit that is none, a
/// reference that leads nowhere, disks upon disks (parentRef), or two disks in one place.
OvfMachine parse_ovf(std::string_view text, const std::string& where);

}  // namespace px::image
