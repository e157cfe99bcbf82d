#pragma once
#include "node/request.hpp"
#include "node/route.hpp"

#include <map>
#include <string>

namespace px::node {

/// The right that a route asks for: a path of the permission tree and its privileges.
struct Right {
  std::string_view method;
  std::string_view route;
  std::string_view object;      ///< "/vms/{vmid}"
  std::string_view privileges;  ///< as the refusal names them
};

/// nullptr when a route names none: then the caller's login is enough, or only the handler knows.
const Right* right_of(const Route& route);

/// Calls of a caller without any right: this node keeps no access lists, so a token with privilege
/// separation has none, and everybody else has all. Returns true when the answer is an empty list
/// (what such a caller may see of it), false when the call may go on; throws ApiError 403.
bool is_empty_without_rights(const Route& route,
                             const std::map<std::string, std::string>& path_values,
                             const Values& given);

}  // namespace px::node
