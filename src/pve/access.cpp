#include "pve/access.hpp"

namespace px::pve::access {

awaitable<Permissions> permissions(Client& client) {
  const auto data = co_await client.get("/access/permissions", {}, {.load = Load::light});
  Permissions out;
  if (!data.is_object()) co_return out;
  for (const auto& [path, privileges] : data.get_object()) {
    if (!privileges.is_object()) continue;
    // Listed means held; the number says whether it goes on to the paths below.
    for (const auto& [name, propagates] : privileges.get_object()) {
      out[path].emplace(name, json::flag_or(privileges, name, false));
    }
  }
  co_return out;
}

bool holds(const Permissions& permissions, std::string_view path, std::string_view privilege) {
  const auto look = [&](std::string_view at) -> std::optional<bool> {
    const auto found = permissions.find(std::string{at});
    if (found == permissions.end()) return std::nullopt;
    const auto held = found->second.find(std::string{privilege});
    return held == found->second.end() ? std::nullopt : std::optional{held->second};
  };
  if (look(path)) return true;
  for (auto at = path; at.size() > 1;) {
    at = at.substr(0, std::max<std::size_t>(at.rfind('/'), 1));
    // The server lists a path with all that holds there, so the nearest listed one decides.
    if (permissions.contains(std::string{at})) return look(at).value_or(false);
  }
  return false;
}

}  // namespace px::pve::access
