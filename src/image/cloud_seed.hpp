#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "support/async.hpp"

#include <map>
#include <memory>
#include <string>

/// What a guest's cloud-init reads from a CD-ROM: the NoCloud data source (cloud-init's manual,
/// "NoCloud").
namespace px::image {

struct CloudSeed {
  std::string host_name{};       ///< may have dots; empty: the guest keeps its own
  std::string user_data{};       ///< as cloud-init takes it
  std::string network_config{};  ///< version 1 or 2; empty: the guest's own choice
};

/// A seed as a file. Named by its content: the same one serves all who have the same configuration.
struct SeedImage {
  std::string instance_id;  ///< by the content, too: a guest that knows another one runs anew
  std::string file_name;    ///< inspect-seed-0123456789abcdef.iso
  std::string bytes;        ///< holds what the user data hold, passwords may be: never to be logged
};

/// Blocks (run_in_pool()).
SeedImage make_seed_image(const CloudSeed& seed);

/// Whether a file on a server is such a one.
bool is_seed(const std::string& file_name);

/// The seeds on one node, each looked for once. Not thread-safe: one I/O thread.
class Seeds {
 public:
  Seeds(pve::Client& client, pve::NodeName node) : client_{client}, node_{std::move(node)} {}

  /// The seed's volume on a storage that takes `iso`, where it stays for good. Uploaded when it
  /// isn't there, or not whole. Errors: the server's.
  awaitable<pve::VolumeId> get(std::shared_ptr<const SeedImage> seed, pve::StorageId storage);

  /// Looks again at the next get(): a seed has gone.
  void forget() { known_.clear(); }

 private:
  awaitable<bool> is_there(pve::VolumeId volume, std::size_t size);

  pve::Client& client_;
  pve::NodeName node_;
  std::map<std::string, pve::VolumeId> known_;  ///< by file name
  Semaphore one_at_a_time_{1};
};

}  // namespace px::image
