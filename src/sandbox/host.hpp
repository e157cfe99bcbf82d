#pragma once
#include "image/cloud_seed.hpp"
#include "image/template.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/instance.hpp"
#include "sandbox/health.hpp"
#include "sandbox/instances.hpp"
#include "sandbox/marks.hpp"
#include "sandbox/removal.hpp"
#include "sandbox/room.hpp"
#include "sandbox/server.hpp"
#include "sandbox/start_ramp.hpp"
#include "support/async.hpp"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace px::sandbox {

/// One node of a server as this run uses it, and what was looked up there once.
class Host {
 public:
  Host(Server& server, pve::NodeName node, const RunId& run, const Environment& environment);

  Server& server() const noexcept { return server_; }
  pve::Client& client() const noexcept { return server_.client(); }
  const pve::NodeName& node() const noexcept { return node_; }
  const pve::Instance& instance() const noexcept { return server_.instance(); }
  /// "pve1", or with the node where that is another name: "rack1, node pve7".
  std::string name() const;
  /// Neither it nor its server is set aside or off.
  bool is_well() const noexcept;

  /// Checks what a configuration needs of this node, and makes its templates, unless that was done
  /// before for the same `key`. Errors name the field; nothing of a sample exists then.
  awaitable<void> prepare(const Spec& spec, const std::string& key);

  /// The template for a VM: the node's own; on shared storage one for all nodes, and what people
  /// brought on another node and shared storage.
  awaitable<image::Template> template_of(image::TemplateRequest request);
  /// Templates are looked for again: one has gone.
  void forget_templates();

  /// The storage that media for guests go to; none when the node has no storage for `iso`.
  awaitable<std::optional<pve::StorageId>> iso_storage();

  /// Where the node has a seed, uploaded when it has not. Throws Error{unsupported} naming the
  /// field when no storage takes it.
  awaitable<pve::VolumeId> seed_of(const VmSpec& vm);
  /// Seeds are looked for again: one has gone.
  void forget_seeds() { seeds_.forget(); }

  /// The networks that the node itself is in.
  awaitable<std::vector<network::Cidr>> foreign_networks();

  /// At most two guests are waited for at once: a ping of a silent agent holds one of the server's
  /// three workers for 3 s (pve-facts sections 2 and 9).
  Semaphore boot_pings{2};
  Semaphore removals{removals_at_once};
  /// Keys of the networks that were seen to be closed, and who may look now.
  std::set<std::string> probed;
  Semaphore one_probe{1};

  Room room;
  Health health;
  StartRamp ramp;
  bool is_online = true;
  std::map<std::string, std::string> unfit;  ///< configurations that it can't have, and why

 private:
  awaitable<void> check_places(const VmSpec& vm);
  awaitable<bool> is_shared(std::string storage);
  /// The bridge of the network in which cloud images are made ready.
  awaitable<std::string> uplink();

  Server& server_;
  pve::NodeName node_;
  image::Templates templates_;
  image::Seeds seeds_;
  std::set<std::string> prepared_;
  std::map<std::string, std::unique_ptr<Semaphore>> one_preparation_;
  std::map<std::string, bool> shared_;  ///< storages, once looked up
  bool iso_storage_known_ = false;
  std::optional<pve::StorageId> iso_storage_;
  Semaphore look_up_{1};
  Semaphore uplink_turn_{1};
};

}  // namespace px::sandbox
