#pragma once
#include "node/vm/command_line.hpp"

#include <filesystem>
#include <string>

namespace px::node {

/// Version of the installed QEMU, e.g. 7.2.22. Throws Error{unsupported} when there is none, with
/// what to install. Blocks.
std::string installed_qemu_version(const std::string& binary);

/// Whether a guest really runs under KVM here: firmware is booted under it and must reach its last
/// words within two seconds. (/dev/kvm may exist and be useless: inside a VM or a container, guests
/// hang or QEMU aborts.) The answer is kept in `cache`, for this QEMU version and this boot of the
/// host. Blocks.
Accelerator probe_accelerator(const std::string& binary, const std::string& version,
                              const std::filesystem::path& cache);

}  // namespace px::node
