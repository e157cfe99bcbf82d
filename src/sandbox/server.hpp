#pragma once
#include "network/leases.hpp"
#include "pve/client.hpp"
#include "pve/firewall.hpp"
#include "pve/ids.hpp"
#include "pve/instance.hpp"
#include "pve/sdn.hpp"
#include "sandbox/health.hpp"
#include "sandbox/instances.hpp"
#include "sandbox/marks.hpp"
#include "support/async.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace px::sandbox {

class Host;

/// The nodes of an instance that samples may run on: the one that it names, or all that are online.
/// Errors: unavailable (offline), bad_input (the node's name, with those there are).
awaitable<std::vector<pve::NodeName>> find_nodes(pve::Client& client);

/// An instance as this run uses it, one Proxmox VE server or a whole cluster: its client, what
/// belongs to all of its nodes, and a Host for each node that samples may run on. Held by
/// shared_ptr. One I/O thread.
class Server : public std::enable_shared_from_this<Server> {
 public:
  Server(const asio::any_io_executor& executor, asio::thread_pool& pool, pve::Instance instance,
         const RunId& run, Environment environment);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Checks that it can be used: reachable, login, node. Done once; later calls return at once.
  /// Errors: unreachable, tls, auth, unavailable (offline), bad_input (the node's name, with those
  /// there are).
  awaitable<void> connect();
  bool is_connected() const noexcept { return !hosts_.empty(); }

  /// One for each node that samples may run on, once connected. They keep this object alive.
  std::vector<std::shared_ptr<Host>> hosts();
  /// The names of those.
  std::vector<pve::NodeName> nodes() const;

  pve::Client& client() noexcept { return client_; }
  const pve::Instance& instance() const noexcept { return client_.instance(); }
  /// Once connected.
  network::Leases& leases() noexcept { return *leases_; }

  /// Asks what its nodes have and who holds it, unless that was asked within `age`. `own`: VMs of
  /// samples of this process at present.
  awaitable<void> look_at_room(std::chrono::seconds age,
                               std::function<std::vector<std::uint32_t>()> own);
  /// Whether it was asked within `age`.
  bool knows_room(std::chrono::seconds age) const;

  /// A VNet of the server that a card names by its alias, none of ours. Error{bad_input} names the
  /// card's field and the aliases that there are, `planned` ones too.
  awaitable<pve::sdn::Vnet> existing_vnet(const network::Card& card, const network::Plan& planned);

  /// Why this server's firewall closes nothing; empty when it does. Looked up once.
  awaitable<std::string> firewall_trouble();
  /// The plan, its networks open where the firewall can't close them.
  awaitable<network::Plan> possible(network::Plan plan);
  /// Rules for a card of a VM that is isolated among others: in a VNet of the server, or in a
  /// network that is none.
  awaitable<std::vector<pve::firewall::Rule>> rules_among_strangers(
      std::optional<pve::VnetId> vnet, const std::vector<network::Cidr>& foreign);

  /// A VMID that is free, as far as is known, and that no other start of this process was given.
  /// When another process has taken it (already_exists), ask again with `was_taken`.
  awaitable<pve::Vmid> next_vmid(bool was_taken = false);

  Health health;
  /// Samples of this process.
  int samples() const;

 private:
  pve::Client client_;
  RunId run_;
  Environment environment_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::optional<network::Leases> leases_;
  std::vector<pve::sdn::Vnet> existing_vnets_;  ///< as last looked up
  std::optional<std::string> firewall_trouble_;
  std::optional<pve::Vmid> last_vmid_;
  SteadyTime asked_for_vmid_{};
  SteadyTime looked_at_room_{};
  Semaphore connect_turn_{1};
  Semaphore look_up_{1};
  Semaphore room_turn_{1};
};

}  // namespace px::sandbox
