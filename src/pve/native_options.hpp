#pragma once
#include "support/error.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// `extra_proxmox_native_config`: options that a configuration gives in the API's own words.
namespace px::pve {

/// `vms_config[0].extra_proxmox_native_config.vga`, for messages.
std::string field_of_native_option(std::string_view field, std::string_view option);

/// Throws the server's refusal of such options as Error{bad_input}: with the option that it names
/// and its value, else for all of them.
[[noreturn]] void throw_refused(std::string_view field,
                                const std::vector<std::pair<std::string, std::string>>& options,
                                const Error& refusal);

}  // namespace px::pve
