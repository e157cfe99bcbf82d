#pragma once
#include "node/vm/qmp.hpp"

#include <filesystem>
#include <map>

namespace px::node {

/// Copies drives of a running guest by QEMU's backup jobs, started in one transaction: what the
/// guest overwrites later is copied before. `targets`: for each drive a raw file of its size.
/// Throws Error{rejected}; whatever becomes of it, QEMU has closed the files afterwards.
awaitable<void> copy_running_disks(Qmp& qmp, std::map<std::string, std::filesystem::path> targets);

}  // namespace px::node
