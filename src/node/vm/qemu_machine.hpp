#pragma once
#include "node/host.hpp"
#include "node/vm/command_line.hpp"
#include "node/vm/guest_agent.hpp"
#include "node/vm/machine.hpp"
#include "node/vm/qmp.hpp"
#include "node/vm/tpm.hpp"
#include "support/process.hpp"

#include <optional>

namespace px::node {

/// A VM in a QEMU process of its own. The process outlives this object and the node: a pid file
/// and the sockets in the run directory are all that the next node needs to take it over.
class QemuMachine : public Machine {
 public:
  /// Takes over a process that an earlier node started, when there is one.
  QemuMachine(asio::any_io_executor executor, const QemuHost& host, int vmid);

  awaitable<void> start(const MachineSetup& setup) override;
  awaitable<void> stop() override;
  awaitable<void> shutdown(Deadline limit) override;
  awaitable<void> reset() override;
  awaitable<void> suspend() override;
  awaitable<void> resume() override;
  MachineStatus status() override;
  awaitable<void> refresh() override;
  void discard() override;
  AgentPort& agent() override { return agent_; }
  awaitable<std::unique_ptr<SerialPort>> open_serial(int number) override;
  awaitable<void> change_medium(const std::string& drive,
                                const std::filesystem::path& medium) override;
  awaitable<void> plug_drive(const std::string& drive, const MachineSetup& setup) override;
  awaitable<void> unplug_drive(const std::string& drive) override;
  awaitable<void> plug_nic(const std::string& nic, const MachineSetup& setup) override;
  awaitable<void> unplug_nic(const std::string& nic) override;
  awaitable<void> save_snapshot(const std::string& name, const std::vector<std::string>& drives,
                                bool memory) override;
  awaitable<void> delete_snapshot(const std::string& name,
                                  const std::vector<std::string>& drives) override;
  awaitable<void> copy_disks(std::map<std::string, std::filesystem::path> targets) override;
  awaitable<void> resize_disk(const std::string& drive, std::uint64_t bytes) override;

 private:
  std::filesystem::path run_file(std::string_view suffix) const;
  bool alive();
  awaitable<bool> ended_within(Deadline limit);
  void spawn(const MachineSetup& setup);
  awaitable<void> wait_for_monitor();
  awaitable<void> remove_device(const std::string& id);
  awaitable<void> remove_netdev(const std::string& nic);
  void forget_process() noexcept;
  Error failed_start();

  asio::any_io_executor executor_;
  const QemuHost& host_;
  int vmid_;
  Qmp qmp_;
  GuestAgent agent_;
  std::optional<Process> process_;
  std::optional<Process> tpm_;  ///< of a machine that this node started; ends by itself with QEMU
  int exit_code_ = 0;           ///< of the last process
  std::string run_state_ = "running";  ///< as last seen
  CpuPressure pressure_;
};

}  // namespace px::node
