#pragma once
#include "node/vm/vm_config.hpp"
#include "support/async.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace px::node {

/// The commands of a guest's agent (qemu-ga's protocol), real or computed.
class AgentPort {
 public:
  virtual ~AgentPort() = default;
  /// Runs one agent command, e.g. `guest-exec`, and returns its `return` value. Throws
  /// Error{rejected} with the agent's own text, Error{agent_down} when nobody answered in `limit`.
  virtual awaitable<json::value> call(std::string_view command, json::object arguments,
                                      std::chrono::milliseconds limit) = 0;
};

/// The outside of a running machine's serial port. As with QEMU, what the guest prints while nobody
/// has it open is lost.
class SerialPort {
 public:
  virtual ~SerialPort() = default;
  /// The next bytes that the guest printed. Throws Error{unreachable} when the machine has ended.
  virtual awaitable<std::string> read() = 0;
  /// Bytes for the guest.
  virtual awaitable<void> write(std::string bytes) = 0;
};

/// How long the agent's routes wait, as the real server does; tests shorten it.
struct AgentLimits {
  /// For an agent that does not answer at all.
  std::chrono::milliseconds ping{3000};
  /// For one command.
  std::chrono::milliseconds command{5000};
  /// Until the real server notices that its worker died of a text it could not print.
  std::chrono::milliseconds broken_pipe{5000};
  /// How long exec-status waits for the end of a running command before it says `exited: 0`. The
  /// real call takes 60-160 ms anyhow (pve-facts section 14): the wait saves a client its polls,
  /// and under emulation even `true` takes 0.25 s.
  std::chrono::milliseconds patience{500};
};

/// What a VM does right now.
struct MachineStatus {
  bool running = false;
  std::string run_state = "stopped";  ///< QEMU's own word: running, paused, io-error...
  int pid = 0;
  std::chrono::seconds uptime{0};
  double cpu_pressure = 0;  ///< percent, see CpuPressure
};

/// Everything a start needs: the configuration and where its volumes lie.
struct MachineSetup {
  Options options;
  /// Path of each volume that a drive names; a CD drive without a medium names none.
  std::map<std::string, std::filesystem::path> volumes;
  /// The interface of each NIC that leads somewhere, and the namespaces where it is.
  std::map<std::string, std::string> taps{};
  Inside inside{};
  /// Continue from this snapshot with memory; empty = boot.
  std::string load_snapshot;
};

/// One VM's hardware: a QEMU process or a simulation. Errors are px::Error whose `said` is the
/// text Proxmox VE would show.
class Machine {
 public:
  virtual ~Machine() = default;

  virtual awaitable<void> start(const MachineSetup& setup) = 0;
  /// Pulls the plug; of a stopped machine: nothing.
  virtual awaitable<void> stop() = 0;
  /// Asks the guest to power off and waits; Error{timeout} when it did not.
  virtual awaitable<void> shutdown(Deadline limit) = 0;
  virtual awaitable<void> reset() = 0;
  virtual awaitable<void> suspend() = 0;
  virtual awaitable<void> resume() = 0;
  /// As last seen; that a process has ended shows at once.
  virtual MachineStatus status() = 0;
  /// Asks the machine itself how it is.
  virtual awaitable<void> refresh() = 0;

  /// The VM was destroyed: removes what is kept of it outside its disks.
  virtual void discard() = 0;

  virtual AgentPort& agent() = 0;
  /// Opens serial port `number` (0..3), which must not outlive the machine. Of a second one at a
  /// time nothing comes before the first one's end. Throws Error{unreachable} when there is none.
  virtual awaitable<std::unique_ptr<SerialPort>> open_serial(int number) = 0;

  /// Puts `medium` into the CD drive `drive` (`scsi3`), or takes it out when it is empty.
  virtual awaitable<void> change_medium(const std::string& drive,
                                        const std::filesystem::path& medium) = 0;
  /// Adds or removes a CD drive or disk on the virtio-scsi bus while the guest runs.
  virtual awaitable<void> plug_drive(const std::string& drive, const MachineSetup& setup) = 0;
  virtual awaitable<void> unplug_drive(const std::string& drive) = 0;
  virtual awaitable<void> plug_nic(const std::string& nic, const MachineSetup& setup) = 0;
  virtual awaitable<void> unplug_nic(const std::string& nic) = 0;

  /// Snapshots the writable disks `drives` inside their files, with the memory when asked.
  virtual awaitable<void> save_snapshot(const std::string& name,
                                        const std::vector<std::string>& drives, bool memory) = 0;
  virtual awaitable<void> delete_snapshot(const std::string& name,
                                          const std::vector<std::string>& drives) = 0;
  /// Copies the drives of the running guest, all as they are at one moment, into raw files that are
  /// there and as large as their disks. The guest goes on meanwhile.
  virtual awaitable<void> copy_disks(std::map<std::string, std::filesystem::path> targets) = 0;
  /// Tells the machine that the disk `drive` of its running guest has now so many bytes.
  virtual awaitable<void> resize_disk(const std::string& drive, std::uint64_t bytes) = 0;
};

}  // namespace px::node
