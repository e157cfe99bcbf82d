#pragma once
#include "node/vm/vm_config.hpp"

#include <string>

/// The option `cpu`. Source: qemu-server CPUConfig.pm and CPUFlags.pm.
namespace px::node {

/// What Proxmox VE says of this value beyond its form, or nothing: a model or flag that it does not
/// know.
std::string cpu_problem(const std::string& text);

/// QEMU's -cpu for these options.
std::string cpu_argument(const Options& options, bool kvm);

}  // namespace px::node
