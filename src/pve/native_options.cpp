#include "pve/native_options.hpp"

#include <fmt/format.h>

namespace px::pve {

std::string field_of_native_option(std::string_view field, std::string_view option) {
  return fmt::format("{}.extra_proxmox_native_config.{}", field, option);
}

void throw_refused(std::string_view field,
                   const std::vector<std::pair<std::string, std::string>>& options,
                   const Error& refusal) {
  for (const auto& [option, value] : options) {
    const auto said = refusal.parameters.find(option);
    if (said != refusal.parameters.end()) {
      throw_bad_input(field_of_native_option(field, option), value,
                      "the server says: " + said->second);
    }
  }
  throw Error{Errc::bad_input,
              fmt::format("{}.extra_proxmox_native_config: {}", field, refusal.said)};
}

}  // namespace px::pve
