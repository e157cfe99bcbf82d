#pragma once
#include "node/vm/command_line.hpp"

#include <filesystem>
#include <string>

namespace px::node {

/// Version of the installed QEMU, e.g. 7.2.22. Throws Error{unsupported} when there is none, with
/// what to install. Blocks.
std::string installed_qemu_version(const std::string& binary);

/// Whether a guest really runs: a boot sector goes through protected mode, long mode and timer
/// interrupts, and must say so within ten seconds (kvm_probe.S). Firmware alone proves nothing:
/// inside a VM or a container /dev/kvm may boot it and then hang, or make QEMU give up. Blocks.
bool runs_guests(const std::string& binary, Accelerator accelerator,
                 const std::filesystem::path& directory);

/// KVM where it runs guests, else emulation. The answer is kept in `cache`, for this QEMU version
/// and this boot of the host. Blocks.
Accelerator probe_accelerator(const std::string& binary, const std::string& version,
                              const std::filesystem::path& cache);

}  // namespace px::node
