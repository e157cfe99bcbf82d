#pragma once
#include "support/secret.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace px::pve {

/// One Proxmox VE server (or cluster) as a user names it. A plain struct: who fills it (from the
/// environment or a file) and with which defaults is not this room's business.
struct Instance {
  std::string id = "default";
  std::string pool = "default";

  std::string host;  ///< name or address, without scheme and port
  int port = 8006;

  std::string user = "root";  ///< `root`, or `root@pam` which then wins over `realm`
  std::string realm = "pam";
  Secret password;
  std::string token_id;  ///< `user@realm!name`; `name` alone means user@realm!name
  Secret token_secret;   ///< with token_id: used instead of the password

  std::string node = "auto";  ///< a node's name, or `auto`: all that are online

  bool verify_tls = true;
  std::string ca_file;      ///< PEM; empty = the system's authorities
  std::string fingerprint;  ///< SHA-256 of the certificate; replaces the checks of chain and name

  std::string image_storage = "local-lvm";
  std::optional<int> max_sandboxes;      ///< samples at once; none: by memory and cores
  std::optional<int> memory_reserve_mb;  ///< of each node, for itself; none: a twentieth
  std::vector<std::pair<std::string, Secret>> extra_headers;

  /// Where processes of this machine and user tell each other what they do there; empty: nowhere.
  std::filesystem::path state_directory{};

  /// What users know it by: its id, or the host where it comes from the environment.
  const std::string& name() const noexcept { return id == "default" ? host : id; }
  /// Whether `node` names no single one.
  bool any_node() const noexcept { return node.empty() || node == "auto"; }
};

/// `user@realm` of an instance, or of its token.
std::string full_user(const Instance& instance);
/// `user@realm!name`, or empty without a token.
std::string full_token_id(const Instance& instance);

/// Throws Error{bad_input} for a header that is ours to set (Authorization, Cookie,
/// CSRFPreventionToken, Host, Content-Length...), an illegal name, or a value with a line break.
void check_extra_header(std::string_view name, std::string_view value);

/// Throws Error{bad_input} naming the first field that can't be right: empty host, port out of
/// range, no password and no token, a bad fingerprint, extra headers.
void check(const Instance& instance);

}  // namespace px::pve
