#pragma once
#include "pve/access.hpp"
#include "sandbox/doctor.hpp"

#include <string>
#include <vector>

namespace px::sandbox {

/// A privilege that the provider takes, and what for.
struct Need {
  std::string path;
  std::string privilege;
  std::string purpose;
};

/// What of it is missing. `what` heads the finding.
Finding look_at_rights(const pve::access::Permissions& held, std::string what,
                       const std::vector<Need>& needs);

}  // namespace px::sandbox
