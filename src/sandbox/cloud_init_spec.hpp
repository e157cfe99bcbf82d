#pragma once
#include "image/cloud_seed.hpp"
#include "support/json.hpp"

#include <optional>
#include <string>
#include <vector>

/// `VmConfig.cloud_init` (python/proxmoxsandbox/schema.py), and the seed that it becomes.
namespace px::sandbox {

struct CloudInitSpec {
  std::optional<std::string> user_data{};  ///< may hold passwords: in no message
  std::optional<std::string> network{};    ///< cloud-init's network configuration, YAML
  std::vector<std::string> ssh_keys{};     ///< as in authorized_keys
  std::vector<std::string> packages{};
  std::vector<json::value> run{};  ///< texts for a shell, or lists of texts
};

template <class V>
void describe(V& visit, CloudInitSpec& s) {
  visit("user_data", s.user_data);
  visit("network", s.network);
  visit("ssh_keys", s.ssh_keys);
  visit("packages", s.packages);
  visit("run", s.run);
}

/// Checks and composes. Beside `user_data` the other fields go as a second part that cloud-init
/// merges: lists are appended to those of the same name, all else is the first part's. `host_name`
/// may be empty. Throws Error{bad_input} naming the field below `field`. The YAML of texts is the
/// Python models' business, for cloud-init reads it with the same library.
image::CloudSeed seed_of(const std::string& field, const CloudInitSpec& spec,
                         const std::string& host_name);

}  // namespace px::sandbox
