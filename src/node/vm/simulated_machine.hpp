#pragma once
#include "node/tasks.hpp"
#include "node/vm/machine.hpp"

#include <cstdint>
#include <map>
#include <memory>

/// VMs without a guest: a thousand of them are cheap. Their agent computes its answers.
namespace px::node {

/// What a simulated command comes to.
struct ExecAnswer {
  int exit_code = 0;
  std::string output;
  std::string errors;
  /// How long it runs; exec-status says so until then.
  std::chrono::milliseconds duration{0};
};

/// The memory and disk of one simulated guest: a snapshot with memory keeps a copy.
struct SimulatedState {
  int vmid = 0;
  std::map<std::string, std::string> files;
};

/// Computes what commands do. One serves all VMs of a node; tests bring their own.
class SimulatedGuest {
 public:
  explicit SimulatedGuest(std::string output = {}) : output_{std::move(output)} {}
  virtual ~SimulatedGuest() = default;
  /// `argv` and `input` (bytes) as the agent gets them. By default every command prints the same
  /// output, and its exit code is 0.
  virtual ExecAnswer run(SimulatedState& state, const std::vector<std::string>& argv,
                         const std::string& input);
  /// Whether the agent of a VM that runs answers.
  virtual bool answers(int vmid);
  /// What QEMU says of a VM that is switched on (`io-error`); empty = as the API left it.
  virtual std::string run_state(int vmid);
  /// How much a VM lacks processors, in percent.
  virtual double cpu_pressure(int vmid);
  /// What a VM prints on its serial console, asked again and again while somebody looks at it.
  virtual std::string console(int vmid);

 private:
  std::string output_;
};

struct Simulation {
  /// What each node has: a thousand VMs fit by default.
  std::int64_t memory = std::int64_t{4} << 40;  ///< bytes
  int cores = 1024;
  /// From power-on to an answering agent.
  std::chrono::milliseconds boot_time{20};
  TaskPace task_pace{};
  AgentLimits agent_limits{};
  std::shared_ptr<SimulatedGuest> guest = std::make_shared<SimulatedGuest>();
};

class SimulatedAgent : public AgentPort {
 public:
  SimulatedAgent(const Simulation& simulation, SimulatedState& state)
      : simulation_{simulation}, state_{state} {}

  awaitable<json::value> call(std::string_view command, json::object arguments,
                              std::chrono::milliseconds limit) override;
  /// Commands and open files end with the power; the agent answers again at `ready`.
  void power_on(SteadyTime ready);
  void power_off() { ready_ = SteadyTime::max(); }
  void pause(bool paused) { paused_ = paused; }

 private:
  struct Command {
    SteadyTime ends;
    ExecAnswer answer;
  };
  struct OpenFile {
    std::string path;
    std::size_t offset = 0;
    bool writing = false;
  };

  bool is_silent() const;
  json::value exec(const json::object& arguments);
  json::value exec_status(const json::object& arguments);
  json::value open(const json::object& arguments);
  json::value read(const json::object& arguments);
  json::value write(const json::object& arguments);
  json::value seek(const json::object& arguments);
  OpenFile& file_of(const json::object& arguments);

  const Simulation& simulation_;
  SimulatedState& state_;
  SteadyTime ready_ = SteadyTime::max();
  bool paused_ = false;
  std::int64_t last_number_ = 100;
  std::map<std::int64_t, Command> commands_;
  std::map<std::int64_t, OpenFile> files_;
};

class SimulatedMachine : public Machine {
 public:
  SimulatedMachine(const Simulation& simulation, int vmid)
      : simulation_{simulation}, state_{vmid, {}}, agent_{simulation_, state_} {}

  awaitable<void> start(const MachineSetup& setup) override;
  awaitable<void> stop() override;
  awaitable<void> shutdown(Deadline limit) override;
  awaitable<void> reset() override;
  awaitable<void> suspend() override;
  awaitable<void> resume() override;
  MachineStatus status() override;
  awaitable<void> refresh() override { co_return; }
  void discard() override {}
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
  const Simulation& simulation_;
  SimulatedState state_;
  SimulatedAgent agent_;
  bool running_ = false;
  bool paused_ = false;
  SteadyTime started_;
  std::map<std::string, SimulatedState> snapshots_;
};

}  // namespace px::node
