#include "sandbox/doctor_rights.hpp"

#include <fmt/format.h>

namespace px::sandbox {

Finding look_at_rights(const pve::access::Permissions& held, std::string what,
                       const std::vector<Need>& needs) {
  std::vector<std::string> missing;
  for (const auto& need : needs) {
    if (!pve::access::holds(held, need.path, need.privilege)) {
      missing.push_back(fmt::format("{} on {} ({})", need.privilege, need.path, need.purpose));
    }
  }
  if (missing.empty()) return {Finding::State::fine, std::move(what), "all that are needed", ""};
  return {Finding::State::bad, std::move(what),
          fmt::format("missing: {}", fmt::join(missing, ", ")),
          "Give the user or token a role with them (Datacenter > Permissions), or use root@pam."};
}

}  // namespace px::sandbox
