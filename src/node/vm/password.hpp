#pragma once
#include <string>

namespace px::node {

/// What Proxmox VE shows instead of a password.
inline constexpr auto hidden_password = "**********";

/// A salted hash that a guest's /etc/shadow takes (crypt(3), SHA-256), as Proxmox VE makes it.
std::string hash_password(const std::string& password);

}  // namespace px::node
