#include "node/vm/simulated_machine.hpp"

#include "node/vm/command_line.hpp"
#include "support/bytes.hpp"

#include <algorithm>

namespace px::node {

namespace {

SteadyTime now() {
  return std::chrono::steady_clock::now();
}

[[noreturn]] void refuse(std::string text) {
  throw Error{Errc::rejected, std::move(text)};
}

QemuHost pretended_host(int cores) {
  static const QemuHost any = [] {
    QemuHost made;
    made.version = "10.0";
    for (auto* firmware :
         {&made.firmware.standard, &made.firmware.secure_boot, &made.firmware.small}) {
      firmware->code = firmware->wanted_code;
    }
    return made;
  }();
  QemuHost host = any;
  host.cpus = cores;
  return host;
}

/// Asks its guest for what it prints; what is typed goes nowhere.
class SimulatedSerial : public SerialPort {
 public:
  SimulatedSerial(SimulatedMachine& machine, SimulatedGuest& guest, int vmid)
      : machine_{machine}, guest_{guest}, vmid_{vmid} {}

  awaitable<std::string> read() override {
    for (; machine_.status().running; co_await sleep_for(std::chrono::milliseconds{50})) {
      if (auto printed = guest_.console(vmid_); !printed.empty()) co_return printed;
    }
    throw Error{Errc::unreachable, "End of file"};
  }
  awaitable<void> write(std::string /*bytes*/) override { co_return; }

 private:
  SimulatedMachine& machine_;
  SimulatedGuest& guest_;
  int vmid_;
};

}  // namespace

ExecAnswer SimulatedGuest::run(SimulatedState& /*state*/, const std::vector<std::string>& /*argv*/,
                               const std::string& /*input*/) {
  return {0, output_, "", {}};
}

bool SimulatedGuest::answers(int /*vmid*/) {
  return true;
}

std::string SimulatedGuest::run_state(int /*vmid*/) {
  return {};
}

double SimulatedGuest::cpu_pressure(int /*vmid*/) {
  return 0;
}

std::string SimulatedGuest::console(int /*vmid*/) {
  return {};
}

void SimulatedAgent::power_on(SteadyTime ready) {
  commands_.clear();
  files_.clear();
  ready_ = ready;
}

bool SimulatedAgent::is_silent() const {
  return now() < ready_ || paused_ || !simulation_.guest->answers(state_.vmid);
}

awaitable<json::value> SimulatedAgent::call(std::string_view command, json::object arguments,
                                            std::chrono::milliseconds limit) {
  for (const auto end = now() + limit; is_silent();) {
    if (now() >= end) throw Error{Errc::agent_down, "no answer"};
    // What keeps it silent may end at any moment: look again soon.
    const auto next = now() < ready_ ? std::min(ready_, end) : end;
    co_await sleep_for(std::min<SteadyTime::duration>(next - now(), std::chrono::milliseconds{50}));
  }
  if (command == "guest-ping") co_return json::object{};
  if (command == "guest-exec") co_return exec(arguments);
  if (command == "guest-exec-status") co_return exec_status(arguments);
  if (command == "guest-file-open") co_return open(arguments);
  if (command == "guest-file-read") co_return read(arguments);
  if (command == "guest-file-write") co_return write(arguments);
  if (command == "guest-file-seek") co_return seek(arguments);
  if (command == "guest-file-close") {
    files_.erase(json::number_at(arguments, "handle"));
    co_return json::object{};
  }
  if (command == "guest-get-osinfo") {
    co_return json::object{{"id", "simulated"}, {"name", "Simulated guest"}};
  }
  if (command == "guest-info") {
    co_return json::object{{"version", "simulated"}, {"supported_commands", json::array{}}};
  }
  refuse(fmt::format("The command {} has not been found", command));
}

json::value SimulatedAgent::exec(const json::object& arguments) {
  std::vector<std::string> argv{json::text_at(arguments, "path")};
  if (const auto* words = arguments.if_contains("arg")) {
    for (const auto& word : words->as_array()) argv.emplace_back(word.as_string());
  }
  const std::string input = from_base64(json::text_or(arguments, "input-data"));
  ExecAnswer answer = simulation_.guest->run(state_, argv, input);
  const auto ends = now() + answer.duration;
  commands_.emplace(++last_number_, Command{ends, std::move(answer)});
  return json::object{{"pid", last_number_}};
}

json::value SimulatedAgent::exec_status(const json::object& arguments) {
  const auto found = commands_.find(json::number_at(arguments, "pid"));
  if (found == commands_.end()) refuse("Invalid parameter 'pid'");
  if (now() < found->second.ends) return json::object{{"exited", false}};
  const ExecAnswer answer = std::move(found->second.answer);
  commands_.erase(found);  // the end is told once
  json::object out{{"exited", true}, {"exitcode", answer.exit_code}};
  if (!answer.output.empty()) out["out-data"] = to_base64(answer.output);
  if (!answer.errors.empty()) out["err-data"] = to_base64(answer.errors);
  return out;
}

json::value SimulatedAgent::open(const json::object& arguments) {
  const std::string path = json::text_at(arguments, "path");
  const std::string mode = json::text_or(arguments, "mode", "r");
  const bool writing = mode.starts_with('w');
  if (writing) {
    state_.files[path].clear();
  } else if (!state_.files.contains(path)) {
    refuse(fmt::format("failed to open file '{}' (mode: '{}'): No such file or directory", path,
                       mode));
  }
  files_.emplace(++last_number_, OpenFile{path, 0, writing});
  return last_number_;
}

SimulatedAgent::OpenFile& SimulatedAgent::file_of(const json::object& arguments) {
  const auto handle = json::number_at(arguments, "handle");
  const auto found = files_.find(handle);
  if (found == files_.end()) refuse(fmt::format("handle '{}' has not been found", handle));
  return found->second;
}

json::value SimulatedAgent::read(const json::object& arguments) {
  OpenFile& file = file_of(arguments);
  const std::string& content = state_.files[file.path];
  const auto count = static_cast<std::size_t>(json::number_or(arguments, "count", 4096));
  const std::string piece = content.substr(std::min(file.offset, content.size()), count);
  file.offset += piece.size();
  return json::object{{"count", static_cast<std::int64_t>(piece.size())},
                      {"buf-b64", to_base64(piece)},
                      {"eof", piece.size() < count}};
}

json::value SimulatedAgent::write(const json::object& arguments) {
  OpenFile& file = file_of(arguments);
  if (!file.writing) refuse("failed to write to file: Bad file descriptor");
  const std::string piece = from_base64(json::text_at(arguments, "buf-b64"));
  state_.files[file.path] += piece;
  return json::object{{"count", static_cast<std::int64_t>(piece.size())}, {"eof", false}};
}

json::value SimulatedAgent::seek(const json::object& arguments) {
  OpenFile& file = file_of(arguments);
  file.offset = static_cast<std::size_t>(json::number_at(arguments, "offset"));
  return json::object{{"position", static_cast<std::int64_t>(file.offset)}, {"eof", false}};
}

awaitable<void> SimulatedMachine::start(const MachineSetup& setup) {
  if (running_) refuse(fmt::format("VM {} already running", state_.vmid));
  qemu_command_line(pretended_host(simulation_.cores), state_.vmid,
                    setup);  // refuses what QEMU's start refuses
  if (!setup.load_snapshot.empty()) {
    const auto saved = snapshots_.find(setup.load_snapshot);
    if (saved == snapshots_.end()) {
      refuse(fmt::format("snapshot '{}' does not exist", setup.load_snapshot));
    }
    state_ = saved->second;
  }
  running_ = true;
  co_await resume();
  started_ = now();
  // What was saved with its memory runs at once.
  agent_.power_on(started_ + (setup.load_snapshot.empty() ? simulation_.boot_time
                                                          : std::chrono::milliseconds{0}));
}

awaitable<void> SimulatedMachine::stop() {
  running_ = paused_ = false;
  agent_.power_off();
  co_return;
}

awaitable<void> SimulatedMachine::shutdown(Deadline /*limit*/) {
  co_await stop();
}

awaitable<void> SimulatedMachine::reset() {
  agent_.power_on(now() + simulation_.boot_time);
  co_return;
}

awaitable<void> SimulatedMachine::suspend() {
  paused_ = true;
  agent_.pause(true);
  co_return;
}

awaitable<void> SimulatedMachine::resume() {
  paused_ = false;
  agent_.pause(false);
  co_return;
}

awaitable<std::unique_ptr<SerialPort>> SimulatedMachine::open_serial(int /*number*/) {
  co_return std::make_unique<SimulatedSerial>(*this, *simulation_.guest, state_.vmid);
}

MachineStatus SimulatedMachine::status() {
  if (!running_) return {};
  const auto pretended = simulation_.guest->run_state(state_.vmid);
  return {.running = true,
          .run_state = !pretended.empty() ? pretended
                       : paused_          ? "paused"
                                          : "running",
          .pid = 0,
          .uptime = std::chrono::duration_cast<std::chrono::seconds>(now() - started_),
          .cpu_pressure = simulation_.guest->cpu_pressure(state_.vmid)};
}

awaitable<void> SimulatedMachine::change_medium(const std::string& /*drive*/,
                                                const std::filesystem::path& /*medium*/) {
  co_return;
}

awaitable<void> SimulatedMachine::plug_drive(const std::string& /*drive*/,
                                             const MachineSetup& /*setup*/) {
  co_return;
}

awaitable<void> SimulatedMachine::unplug_drive(const std::string& /*drive*/) {
  co_return;
}

awaitable<void> SimulatedMachine::plug_nic(const std::string& /*nic*/,
                                           const MachineSetup& /*setup*/) {
  co_return;
}

awaitable<void> SimulatedMachine::unplug_nic(const std::string& /*nic*/) {
  co_return;
}

awaitable<void> SimulatedMachine::save_snapshot(const std::string& name,
                                                const std::vector<std::string>& /*drives*/,
                                                bool /*memory*/) {
  snapshots_[name] = state_;
  co_return;
}

awaitable<void> SimulatedMachine::delete_snapshot(const std::string& name,
                                                  const std::vector<std::string>& /*drives*/) {
  snapshots_.erase(name);
  co_return;
}

awaitable<void> SimulatedMachine::copy_disks(
    std::map<std::string, std::filesystem::path> /*targets*/) {
  co_return;  // a simulated disk is all zeros, as the files are
}

awaitable<void> SimulatedMachine::resize_disk(const std::string& /*drive*/,
                                              std::uint64_t /*bytes*/) {
  co_return;
}

}  // namespace px::node
