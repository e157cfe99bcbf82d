#pragma once
#include "node/faults.hpp"
#include "node/vm/simulated_machine.hpp"
#include "support/async.hpp"
#include "support/secret.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/// The local node: a server that speaks the Proxmox VE API over QEMU on this machine.
namespace px::node {

enum class AcceleratorChoice : std::uint8_t {
  probe,  ///< KVM where a guest really boots under it, else TCG
  tcg,
  kvm,
};

struct NodeOptions {
  std::filesystem::path directory;  ///< all state
  std::string name = "proxmox";     ///< the node's name
  std::uint16_t port = 8006;        ///< 0 = any that is free
  AcceleratorChoice accelerator = AcceleratorChoice::probe;
  /// Machines without a guest, for tests of scale and failure.
  std::optional<Simulation> simulation;
  /// The other nodes of a simulated cluster, each as large as the first.
  std::vector<std::string> other_nodes{};
  /// A new node's datacenter firewall is on (`enable=1, policy_in=ACCEPT`), so that VMs are
  /// filtered as soon as they ask for it. Off: as Proxmox VE is installed.
  bool armed_firewall = true;
  /// Serve /_control (counters and faults).
  bool control = false;
  std::chrono::milliseconds refusal_delay{3000};
};

class Node {
 public:
  /// Takes the directory, loads what is in it, and listens. Errors: busy (another node has the
  /// directory), unreachable (the port is taken), unsupported (no QEMU), bad_input (other nodes
  /// without a simulation, or a name twice).
  Node(asio::any_io_executor executor, asio::thread_pool& pool, NodeOptions options);
  ~Node();

  std::uint16_t port() const noexcept;
  const std::string& fingerprint() const noexcept;
  /// "QEMU 7.2.22 with TCG", or "simulated".
  const std::string& hardware() const noexcept;
  const Secret& password() const noexcept;
  /// root@pam!NAME with all rights, made anew when needed.
  Secret token(const std::string& name);
  Faults& faults() noexcept;
  /// All that the first node answers; for the check against the real API's schema.
  const std::deque<Route>& routes() const noexcept;
  /// Called for each request that changes something: method, path, user, status.
  void on_request(
      std::function<void(const std::string&, const std::string&, const std::string&, int)> call);
  /// Called at each task's end: UPID and exit status.
  void on_task_end(std::function<void(const std::string&, const std::string&)> call);

  /// Serves until stop().
  awaitable<void> run();
  /// Ends tasks, then VMs in order, then connections. Must have returned before the node goes, or
  /// the executor must have stopped: calls that run refer to it.
  awaitable<void> stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace px::node
