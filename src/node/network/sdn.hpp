#pragma once
#include "node/network/ipam.hpp"
#include "node/network/sdn_config.hpp"
#include "node/state.hpp"
#include "node/vm/vm_config.hpp"

#include <functional>
#include <optional>
#include <string>

namespace px::node {

/// The bridge that is always there. It leads nowhere.
constexpr std::string_view default_bridge = "vmbr0";

/// Where a NIC option puts its card: `virtio=BC:24:11:00:00:01,bridge=vnet1`.
struct NicPlace {
  std::string bridge;
  std::string mac;

  static NicPlace parse(std::string_view option);
  friend bool operator==(const NicPlace&, const NicPlace&) = default;
};

/// Whether an option of this name is a NIC: net0, net1...
bool is_nic_option(std::string_view name);

/// The cluster's networks: the configuration as written and as applied, its lock, and the built-in
/// IPAM. All of it survives a restart.
class Sdn {
 public:
  Sdn(State& state, std::string node);

  const SdnConfig& written() const noexcept { return written_; }
  const SdnConfig& running() const noexcept { return running_; }
  const Ipam& ipam() const noexcept { return ipam_; }
  const std::string& node() const noexcept { return node_; }

  using Change = std::function<void(SdnConfig&, Ipam&)>;
  /// Changes the written configuration and the IPAM, both or neither. Throws ApiError 500 that
  /// begins with `failure` when the lock is held by another token or the change is refused.
  void change(const std::optional<std::string>& token, const std::string& failure,
              const Change& change);

  /// Takes the lock and returns its token. Throws ApiError 500 when it is held, or when changes are
  /// pending and may not be.
  std::string lock(bool allow_pending);
  void release_lock(const std::optional<std::string>& token, bool force);
  /// What is written becomes what runs; the networks themselves are made by the caller.
  void commit(const std::optional<std::string>& token, bool release);
  /// What runs becomes what is written.
  void rollback(const std::optional<std::string>& token, bool release);

  /// Books, moves and frees single addresses: /cluster/sdn/vnets/{vnet}/ips.
  void book(const std::string& vnet, const std::string& ip, const std::string& mac);
  void move(const std::string& vnet, const std::string& ip, const std::string& mac, int vmid);
  void free(const std::string& vnet, const std::string& ip, const std::string& mac);

  /// A NIC was put into a VM's configuration: books an address of each IP version that its VNet
  /// has, when its zone has DHCP. Throws ApiError 500 "can't find any free ip in zone ...".
  void join(const NicPlace& nic, const std::string& hostname, int vmid);
  /// A NIC was taken out.
  void leave(const NicPlace& nic);
  /// A NIC is about to be used: books what it lacks. Throws as join() does.
  void confirm(const NicPlace& nic, const std::string& hostname, int vmid);
  void join_all(const Options& options, int vmid, const std::function<void(std::string)>& warn);
  void leave_all(const Options& options);

  /// Throws ApiError 500 "bridge '...' does not exist".
  void check_bridge(const std::string& bridge) const;
  /// Whether a zone's networks are on this node.
  bool is_local(const json::object& zone) const;

 private:
  void load();
  void save() const;
  void check_lock(const std::optional<std::string>& token) const;
  bool has_dhcp(const std::string& vnet) const;
  void join_version(const NicPlace& nic, const Ipam::Booking& booking, bool v4);

  State& state_;
  std::string node_;
  SdnConfig written_;
  SdnConfig running_;
  std::string lock_;  ///< its token; empty = free
  Ipam ipam_;
};

}  // namespace px::node
