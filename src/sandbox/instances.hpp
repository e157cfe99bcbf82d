#pragma once
#include "pve/instance.hpp"
#include "sandbox/spec.hpp"

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

/// Which Proxmox VE servers there are, from PROXMOX_CONFIG_FILE or the single PROXMOX_* variables
/// (docs/configuration.md).
namespace px::sandbox {

/// The value of an environment variable; handed in, so that tests need no real environment.
using Environment = std::function<std::optional<std::string>(const std::string&)>;
Environment process_environment();

/// A switch: 1, true, yes, on or 0, false, no, off; `otherwise` when it is not set. Throws
/// Error{bad_input} naming the variable.
bool read_flag(const Environment& environment, const std::string& name, bool otherwise);

/// What processes of this machine and user tell each other: `$XDG_STATE_HOME/proxmox-sandbox`, else
/// `~/.local/state/proxmox-sandbox`. Empty where the environment names neither.
std::filesystem::path state_directory(const Environment& environment);

/// Reads every instance. Throws Error{bad_input} naming the variable or the file's field, the
/// value (never a secret), and what would be right.
std::vector<pve::Instance> read_instances(const Environment& environment);

/// The instances of a spec's pool, with the spec's own connection data applied. Throws
/// Error{bad_input} when the pool has none.
std::vector<pve::Instance> instances_for(const Spec& spec, const Environment& environment);

}  // namespace px::sandbox
