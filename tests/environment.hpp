#pragma once
#include "sandbox/instances.hpp"

#include <map>
#include <optional>
#include <string>
#include <utility>

namespace px::testing {

/// A process's environment of these variables and no other.
inline sandbox::Environment environment_of(std::map<std::string, std::string> variables) {
  return [values = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional{found->second};
  };
}

}  // namespace px::testing
