#pragma once
#include "node/vm/vm_config.hpp"
#include "support/json.hpp"

#include <filesystem>
#include <string>
#include <string_view>

/// QEMU's devices for drives and NICs, on the command line and plugged into a running machine. They
/// have Proxmox VE's buses and addresses (qemu-server PCI.pm and DriveDevice.pm), so that a plugged
/// device keeps its place after a restart and a memory snapshot finds the same machine.
namespace px::node {

/// Arguments of `blockdev-add` for a drive with a medium, of `device_add` for a drive or NIC.
json::object block_node(const Drive& drive, const std::filesystem::path& path);
json::object drive_device(const Options& options, const Drive& drive, bool has_medium);
/// `connected`: to the netdev of the same name.
json::object nic_device(const std::string& name, std::string_view text, bool connected);

/// The block node of a drive, e.g. `drive-scsi0`.
std::string node_name_of(std::string_view drive);
/// The iothread that a drive asks for and its bus can use; empty = none.
std::string iothread_of(const Options& options, const Drive& drive);

/// QEMU's name of the SCSI controller, and the number of the one that a SCSI drive is on.
std::string scsi_controller(const Options& options);
int scsi_controller_number(const Options& options, const Drive& drive);

bool is_q35(const Options& options);
/// The bus of a machine's own PCI devices, and a place on it.
std::string pci_bus(const Options& options);
std::string pci_slot(int number);

}  // namespace px::node
