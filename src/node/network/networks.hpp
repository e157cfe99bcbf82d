#pragma once
#include "node/firewall/firewall_config.hpp"
#include "node/firewall/guest_filters.hpp"
#include "node/network/namespace.hpp"
#include "node/network/network_maker.hpp"
#include "node/network/network_plan.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace px::node {

/// A VM that ran before the node did.
struct RunningMachine {
  int vmid = 0;
  pid_t pid = 0;
  Options options;
};

/// Real networks in one namespace of the node's own: a bridge for each applied VNet, taps, a
/// dnsmasq for each VNet with DHCP, nftables, and a way out by slirp4netns where it is installed.
/// The host's own network is never touched.
///
/// NICs with `firewall=1` are filtered as `firewall` says, from before their tap goes up until the
/// VM starts anew or is destroyed; in one transaction each time, so that no packet meets half of
/// it.
///
/// The namespace is made with the first applied VNet; a node that finds machines of an earlier one
/// in theirs goes on with it.
class Networks : public NetworkMaker {
 public:
  /// `machines`: VMs that run already.
  Networks(Sdn& sdn, const Firewall& firewall, asio::thread_pool& pool,
           std::filesystem::path directory, const std::vector<RunningMachine>& machines);
  ~Networks() override;

  awaitable<void> apply() override;
  std::string problem(const std::string& vnet) const override;
  awaitable<void> attach(int vmid, MachineSetup& setup) override;
  awaitable<void> plug(int vmid, pid_t machine, std::string nic, MachineSetup& setup) override;
  awaitable<void> unplug(int vmid, std::string nic) override;
  awaitable<void> move(int vmid, pid_t machine, std::string nic, std::string option) override;
  awaitable<void> filter(std::optional<int> vmid) override;
  awaitable<void> forget(int vmid) override;

  /// Where a test's own programs can be run; nullptr before there is one.
  const Namespace* space() const noexcept { return space_ ? &*space_ : nullptr; }

 private:
  using Planned = std::map<std::string, PlannedNetwork>;
  /// The NIC options of a VM that has been started.
  using Nics = std::map<std::string, std::string>;

  void build(const Planned& wanted, const Ipam& ipam, const CardFilters& filters);
  void open_space(const CardFilters& filters);
  void set_up_space(const CardFilters& filters);
  void find_uplink();
  std::map<std::string, Link> links() const;
  void run(const std::vector<std::string>& argv) const;
  void change_links(const std::string& lines) const;
  void load_rules(const std::string& rules) const;
  CardFilters filters_of(int vmid) const;
  CardFilters all_filters() const;
  void remove_taps(const std::vector<std::string>& taps);
  void serve(const PlannedNetwork& network, const Ipam& ipam);
  void stop_serving(const std::string& name);
  const PlannedNetwork* network_of(const NicPlace& place) const;
  void make_tap(int vmid, const std::string& nic, const NicPlace& place, const Ipam& ipam);

  Sdn& sdn_;
  const Firewall& firewall_;
  asio::thread_pool& pool_;
  std::filesystem::path directory_;
  std::vector<pid_t> machines_;
  std::map<int, Nics> nics_;  ///< by VM; touched by the node's own thread only
  Semaphore turn_{1};         ///< one at a time touches what follows
  std::optional<Namespace> space_;
  Uplink uplink_;
  Planned networks_;
  std::map<std::string, std::string> served_;  ///< the configuration of each dnsmasq
  GuestFilters filters_;
  GuestFilters::Load load_{[this](const std::string& rules) { load_rules(rules); }};
  std::string failure_;  ///< of the last apply
};

/// The host's own addresses and the networks that it is connected to, as CIDRs; and all that is
/// link-local, cloud metadata among it.
std::vector<std::string> networks_of_host();

}  // namespace px::node
