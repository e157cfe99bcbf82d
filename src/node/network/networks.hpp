#pragma once
#include "node/network/namespace.hpp"
#include "node/network/network_maker.hpp"
#include "node/network/network_plan.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace px::node {

/// Real networks in one namespace of the node's own: a bridge for each applied VNet, taps, a
/// dnsmasq for each VNet with DHCP, nftables, and a way out by slirp4netns where it is installed.
/// The host's own network is never touched.
///
/// The namespace is made with the first applied VNet; a node that finds machines of an earlier one
/// in theirs goes on with it.
class Networks : public NetworkMaker {
 public:
  /// `machines`: the processes of VMs that run already.
  Networks(Sdn& sdn, asio::thread_pool& pool, std::filesystem::path directory,
           const std::vector<pid_t>& machines);
  ~Networks() override;

  awaitable<void> apply() override;
  std::string problem(const std::string& vnet) const override;
  awaitable<void> attach(int vmid, MachineSetup& setup) override;
  awaitable<void> plug(int vmid, pid_t machine, std::string nic, MachineSetup& setup) override;
  awaitable<void> unplug(int vmid, std::string nic) override;
  awaitable<void> move(int vmid, pid_t machine, std::string nic, NicPlace place) override;

  /// Where a test's own programs can be run; nullptr before there is one.
  const Namespace* space() const noexcept { return space_ ? &*space_ : nullptr; }

 private:
  using Planned = std::map<std::string, PlannedNetwork>;

  awaitable<void> in_turn(std::function<void()> work);
  void build(const Planned& wanted, const Ipam& ipam);
  void open_space(const std::vector<pid_t>& machines);
  void set_up_space();
  void find_uplink();
  std::map<std::string, Link> links() const;
  void run(const std::vector<std::string>& argv) const;
  void change_links(const std::string& lines) const;
  void set_rules(const Planned& networks) const;
  void serve(const PlannedNetwork& network, const Ipam& ipam);
  void stop_serving(const std::string& name);
  const PlannedNetwork* network_of(const NicPlace& place) const;
  void make_tap(int vmid, const std::string& nic, const NicPlace& place, const Ipam& ipam);

  Sdn& sdn_;
  asio::thread_pool& pool_;
  std::filesystem::path directory_;
  std::vector<pid_t> machines_;
  Semaphore turn_{1};  ///< one at a time touches what follows
  std::optional<Namespace> space_;
  Uplink uplink_;
  Planned networks_;
  std::map<std::string, std::string> served_;  ///< the configuration of each dnsmasq
  std::string failure_;                        ///< of the last apply
};

/// The host's own addresses and the networks that it is connected to, as CIDRs; and all that is
/// link-local, cloud metadata among it.
std::vector<std::string> networks_of_host();

}  // namespace px::node
