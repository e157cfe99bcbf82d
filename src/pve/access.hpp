#pragma once
#include "pve/client.hpp"

#include <map>
#include <string>

/// /access: what the caller may do.
namespace px::pve::access {

/// Path (`/`, `/storage/local`...) -> the caller's privileges there -> whether paths below have it
/// too.
using Permissions = std::map<std::string, std::map<std::string, bool>>;
awaitable<Permissions> permissions(Client& client);

/// Whether `privilege` is held on `path` or propagated from above.
bool holds(const Permissions& permissions, std::string_view path, std::string_view privilege);

}  // namespace px::pve::access
