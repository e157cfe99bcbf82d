#pragma once
#include "image/cloud_seed.hpp"
#include "image/template.hpp"
#include "network/leases.hpp"
#include "pve/client.hpp"
#include "pve/firewall.hpp"
#include "pve/ids.hpp"
#include "pve/instance.hpp"
#include "pve/sdn.hpp"
#include "pve/version.hpp"
#include "sandbox/instances.hpp"
#include "sandbox/marks.hpp"
#include "support/async.hpp"

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace px::sandbox {

/// One server as this run uses it: its client, and what was looked up there once.
class Host {
 public:
  Host(const asio::any_io_executor& executor, asio::thread_pool& pool, pve::Instance instance,
       const RunId& run, const Environment& environment);

  /// Checks that the server can be used: reachable, login, node. Done once; later calls return at
  /// once. Errors: unreachable, tls, auth, bad_input (the node's name, with those there are).
  awaitable<void> check();

  pve::Client& client() noexcept { return client_; }
  image::Templates& templates() noexcept { return templates_; }
  const pve::NodeName& node() const noexcept { return node_; }
  const pve::Instance& instance() const noexcept { return client_.instance(); }

  /// The storage that media for guests go to; none when the node has no storage for `iso`.
  awaitable<std::optional<pve::StorageId>> iso_storage();

  /// Where the node has a seed, uploaded when it has not. Throws Error{unsupported} naming the
  /// field when no storage takes it.
  awaitable<pve::VolumeId> seed_of(const VmSpec& vm);
  /// Seeds are looked for again: one has gone.
  void forget_seeds() { seeds_.forget(); }

  network::Leases& leases() noexcept { return leases_; }

  /// A VNet of the server that a card names by its alias, none of ours. Error{bad_input} names the
  /// card's field and the aliases that there are, `planned` ones too.
  awaitable<pve::sdn::Vnet> existing_vnet(const network::Card& card, const network::Plan& planned);

  /// That the storage and the pool that a VM names are there. Throws Error{bad_input} with those
  /// that are.
  awaitable<void> check_places(VmSpec vm);

  /// Why this server's firewall closes nothing; empty when it does. Looked up once.
  awaitable<std::string> firewall_trouble();
  /// The plan, its networks open where the firewall can't close them.
  awaitable<network::Plan> possible(network::Plan plan);
  /// The networks that the node itself is in.
  awaitable<std::vector<network::Cidr>> foreign_networks();
  /// Rules for a card of a VM that is isolated among others: in a VNet of the server, or in a
  /// network that is none.
  awaitable<std::vector<pve::firewall::Rule>> rules_among_strangers(
      std::optional<pve::VnetId> vnet, const std::vector<network::Cidr>& foreign);

  /// A VMID that is free, as far as is known, and that no other start of this process was given.
  /// When another process has taken it (already_exists), ask again with `was_taken`.
  awaitable<pve::Vmid> next_vmid(bool was_taken = false);

  /// At most two guests are waited for at once: a ping of a silent agent holds one of the server's
  /// three workers for 3 s (pve-facts sections 2 and 9).
  Semaphore boot_pings{2};
  /// Keys of the networks that were seen to be closed, and who may look now.
  std::set<std::string> probed;
  Semaphore one_probe{1};
  /// Sandboxes that live here now.
  int live = 0;

 private:
  pve::Client client_;
  pve::NodeName node_;
  image::Templates templates_;
  image::Seeds seeds_;
  network::Leases leases_;
  std::vector<pve::sdn::Vnet> existing_vnets_;  ///< as last looked up
  std::optional<std::string> firewall_trouble_;
  bool checked_ = false;
  bool iso_storage_known_ = false;
  std::optional<pve::StorageId> iso_storage_;
  std::optional<pve::Vmid> last_vmid_;
  SteadyTime asked_for_vmid_{};
  Semaphore look_up_{1};
};

}  // namespace px::sandbox
