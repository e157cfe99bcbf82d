#include "node/vm/qemu_machine.hpp"

#include "node/vm/devices.hpp"
#include "node/vm/running_disks.hpp"

#include <algorithm>
#include <fstream>

namespace px::node {

namespace {

using namespace std::chrono_literals;

/// QEMU itself is up in tens of milliseconds; PVE gives it 30 s.
constexpr auto start_limit = 30s;
constexpr auto quit_limit = 5s;
constexpr auto snapshot_limit = 120s;
constexpr auto unplug_limit = 5s;

json::array nodes_of(const std::vector<std::string>& drives) {
  json::array out;
  for (const auto& drive : drives) out.emplace_back(node_name_of(drive));
  return out;
}

class SerialSocket : public SerialPort {
 public:
  SerialSocket(const asio::any_io_executor& executor, std::filesystem::path path)
      : socket_{executor, std::move(path)} {}

  awaitable<void> connect() { return socket_.connect(); }
  awaitable<std::string> read() override { return socket_.read_some(); }
  awaitable<void> write(std::string bytes) override { return socket_.write(std::move(bytes)); }

 private:
  LineSocket socket_;
};

}  // namespace

QemuMachine::QemuMachine(asio::any_io_executor executor, const QemuHost& host, int vmid)
    : executor_{executor},
      host_{host},
      vmid_{vmid},
      qmp_{executor, run_file("qmp")},
      agent_{executor, run_file("qga")},
      process_{Process::adopt(run_file("pid"))} {}

std::filesystem::path QemuMachine::run_file(std::string_view suffix) const {
  return host_.run_directory / fmt::format("{}.{}", vmid_, suffix);
}

bool QemuMachine::alive() {
  if (process_ && !process_->alive()) forget_process();
  if (!process_ && tpm_ && !tpm_->alive()) tpm_.reset();
  return process_.has_value();
}

void QemuMachine::forget_process() noexcept {
  if (process_) exit_code_ = process_->exit_code();
  process_.reset();
  run_state_ = "running";
  pressure_ = {};
  qmp_.close();
  agent_.close();
  std::error_code ignored;
  for (const auto* suffix : {"pid", "qmp", "qga", "serial0", "serial1", "serial2", "serial3"}) {
    std::filesystem::remove(run_file(suffix), ignored);
  }
}

void QemuMachine::discard() {
  forget_process();
  if (tpm_) tpm_->end();
  tpm_.reset();
  std::error_code ignored;
  for (const auto* suffix : {"log", "tpm.log"}) std::filesystem::remove(run_file(suffix), ignored);
}

awaitable<void> QemuMachine::start(const MachineSetup& setup) {
  if (alive()) throw Error{Errc::rejected, fmt::format("VM {} already running", vmid_)};
  forget_process();
  try {
    spawn(setup);
    co_await with_deadline(wait_for_monitor(), Deadline::after(start_limit), "start QEMU");
  } catch (...) {
    if (process_) process_->kill();
    if (tpm_) tpm_->end();
    throw;
  }
}

void QemuMachine::spawn(const MachineSetup& setup) {
  const auto argv = qemu_command_line(host_, vmid_, setup);
  const auto with_tpm = setup.options.find("tpmstate0");
  if (with_tpm == setup.options.end()) {
    process_ = Process::spawn(argv, host_.run_directory, run_file("log"), setup.inside);
    process_->write_pid_file(run_file("pid"));
    return;
  }
  // The last start's may not have ended yet, and two must not write one state.
  if (tpm_) tpm_->end();
  const SocketPair sockets;
  process_ =
      Process::spawn(argv, host_.run_directory, run_file("log"), setup.inside, sockets.left());
  process_->write_pid_file(run_file("pid"));
  const Drive state = Drive::parse("tpmstate0", with_tpm->second);
  tpm_ = start_tpm(state.properties, setup.volumes.at(state.volume), sockets.right(),
                   host_.run_directory, run_file("tpm.log"));
}

awaitable<void> QemuMachine::wait_for_monitor() {
  for (auto pause = 4ms;;) {
    co_await sleep_for(pause);
    if (!alive()) throw failed_start();
    try {
      co_await qmp_.call("query-status", {}, start_limit);
      co_return;
    } catch (const Error& error) {
      if (error.kind != Errc::unreachable) throw;
    }
    pause = std::min<std::chrono::milliseconds>(pause * 2, 20ms);
  }
}

Error QemuMachine::failed_start() {
  Error error{Errc::rejected, fmt::format("start failed: QEMU exited with code {}", exit_code_)};
  std::ifstream log{run_file("log")};
  for (std::string line; std::getline(log, line);) error.task_log.push_back(line);
  return error;
}

awaitable<void> QemuMachine::stop() {
  if (!alive()) co_return;
  try {
    co_await qmp_.call("quit", {}, quit_limit);
  } catch (const Error&) {
    // It hangs, or is gone already: the next lines tell.
  }
  if (co_await ended_within(Deadline::after(quit_limit))) co_return;
  process_->kill();
  if (!co_await ended_within(Deadline::after(quit_limit))) {
    throw Error{Errc::internal, fmt::format("VM {}: QEMU does not end", vmid_)};
  }
}

awaitable<void> QemuMachine::shutdown(Deadline limit) {
  if (!alive()) co_return;
  bool asked = false;
  try {
    co_await agent_.call("guest-ping", {}, 3s);
    asked = true;
    // A guest that powers off does not answer.
    co_await agent_.call("guest-shutdown", {}, 500ms);
  } catch (const Error&) {
    // No agent, or no answer because the guest is going down already.
  }
  if (!asked && alive()) co_await qmp_.call("system_powerdown");
  if (!co_await ended_within(limit)) {
    throw Error{Errc::timeout, "VM quit/powerdown failed - got timeout"};
  }
}

awaitable<bool> QemuMachine::ended_within(Deadline limit) {
  for (auto pause = 2ms; alive(); pause = std::min<std::chrono::milliseconds>(pause * 2, 50ms)) {
    if (limit.passed(std::chrono::steady_clock::now())) co_return false;
    co_await sleep_for(pause);
  }
  co_return true;
}

awaitable<void> QemuMachine::reset() {
  co_await qmp_.call("system_reset");
  agent_.forget();
}

awaitable<void> QemuMachine::suspend() {
  co_await qmp_.call("stop");
  run_state_ = "paused";
}

awaitable<void> QemuMachine::resume() {
  co_await qmp_.call("cont");
  run_state_ = "running";
}

awaitable<std::unique_ptr<SerialPort>> QemuMachine::open_serial(int number) {
  auto port = std::make_unique<SerialSocket>(executor_, run_file(fmt::format("serial{}", number)));
  co_await port->connect();
  co_return port;
}

MachineStatus QemuMachine::status() {
  if (!alive()) return {};
  return {.running = true,
          .run_state = run_state_,
          .pid = process_->pid(),
          .uptime = process_->age(),
          .cpu_pressure = pressure_.percent()};
}

awaitable<void> QemuMachine::refresh() {
  if (!alive()) co_return;
  pressure_.look(process_->pid());
  const json::value status = co_await qmp_.call("query-status");
  run_state_ = json::text_or(status, "status", "running");
}

awaitable<void> QemuMachine::change_medium(const std::string& drive,
                                           const std::filesystem::path& medium) {
  // Forced: the guest may have locked the tray by a mount; PVE ejects all the same (pve-facts 10a).
  if (medium.empty()) {
    co_await qmp_.call("eject", {{"id", drive}, {"force", true}});
    co_return;
  }
  co_await qmp_.call("blockdev-change-medium", {{"id", drive},
                                                {"filename", medium.string()},
                                                {"format", "raw"},
                                                {"read-only-mode", "read-only"},
                                                {"force", true}});
}

awaitable<void> QemuMachine::plug_drive(const std::string& drive, const MachineSetup& setup) {
  const Drive wanted = Drive::parse(drive, setup.options.at(drive));
  const auto volume = setup.volumes.find(wanted.volume);
  const bool has_medium = volume != setup.volumes.end();
  if (has_medium) co_await qmp_.call("blockdev-add", block_node(wanted, volume->second));
  std::exception_ptr failure;
  try {
    co_await qmp_.call("device_add", drive_device(setup.options, wanted, has_medium));
  } catch (const Error&) {
    failure = std::current_exception();
  }
  if (!failure) co_return;
  if (has_medium) co_await qmp_.call("blockdev-del", {{"node-name", node_name_of(drive)}});
  std::rethrow_exception(failure);
}

awaitable<void> QemuMachine::unplug_drive(const std::string& drive) {
  co_await remove_device(drive);
  try {
    co_await qmp_.call("blockdev-del", {{"node-name", node_name_of(drive)}});
  } catch (const Error& error) {
    // A CD drive whose medium was changed has no node of ours.
    if (error.kind != Errc::rejected) throw;
  }
}

awaitable<void> QemuMachine::plug_nic(const std::string& nic, const MachineSetup& setup) {
  const auto tap = setup.taps.find(nic);
  if (tap != setup.taps.end()) {
    co_await qmp_.call("netdev_add", {{"type", "tap"},
                                      {"id", nic},
                                      {"ifname", tap->second},
                                      {"script", "no"},
                                      {"downscript", "no"}});
  }
  std::exception_ptr failure;
  try {
    co_await qmp_.call("device_add",
                       nic_device(nic, setup.options.at(nic), tap != setup.taps.end()));
  } catch (const Error&) {
    failure = std::current_exception();
  }
  if (!failure) co_return;
  co_await remove_netdev(nic);
  std::rethrow_exception(failure);
}

awaitable<void> QemuMachine::remove_netdev(const std::string& nic) {
  try {
    co_await qmp_.call("netdev_del", {{"id", nic}});
  } catch (const Error& error) {
    // A NIC that leads nowhere has none.
    if (error.kind != Errc::rejected) throw;
  }
}

awaitable<void> QemuMachine::unplug_nic(const std::string& nic) {
  co_await remove_device(nic);
  co_await remove_netdev(nic);
}

awaitable<void> QemuMachine::remove_device(const std::string& id) {
  co_await qmp_.call("device_del", {{"id", id}});
  const auto limit = Deadline::after(unplug_limit);
  for (auto pause = 5ms;; pause = std::min<std::chrono::milliseconds>(pause * 2, 100ms)) {
    const json::value devices = co_await qmp_.call("qom-list", {{"path", "/machine/peripheral"}});
    const auto& list = devices.as_array();
    if (std::none_of(list.begin(), list.end(), [&id](const json::value& device) {
          return json::text_or(device, "name") == id;
        })) {
      co_return;
    }
    if (limit.passed(std::chrono::steady_clock::now())) {
      throw Error{Errc::rejected,
                  fmt::format("error on hot-unplugging device '{}': still busy in guest?", id)};
    }
    co_await sleep_for(pause);
  }
}

awaitable<void> QemuMachine::save_snapshot(const std::string& name,
                                           const std::vector<std::string>& drives, bool memory) {
  if (memory) {
    // QEMU pauses the guest while it saves and lets it go on afterwards.
    co_await qmp_.run_job(
        "snapshot-save",
        {{"tag", name}, {"vmstate", node_name_of(drives.front())}, {"devices", nodes_of(drives)}},
        snapshot_limit);
    co_return;
  }
  json::array actions;
  for (const auto& drive : drives) {
    actions.push_back(
        json::object{{"type", "blockdev-snapshot-internal-sync"},
                     {"data", json::object{{"device", node_name_of(drive)}, {"name", name}}}});
  }
  co_await qmp_.call("transaction", {{"actions", std::move(actions)}}, snapshot_limit);
}

awaitable<void> QemuMachine::delete_snapshot(const std::string& name,
                                             const std::vector<std::string>& drives) {
  co_await qmp_.run_job("snapshot-delete", {{"tag", name}, {"devices", nodes_of(drives)}},
                        snapshot_limit);
}

awaitable<void> QemuMachine::copy_disks(std::map<std::string, std::filesystem::path> targets) {
  co_await copy_running_disks(qmp_, std::move(targets));
}

awaitable<void> QemuMachine::resize_disk(const std::string& drive, std::uint64_t bytes) {
  co_await qmp_.call("block_resize", {{"node-name", node_name_of(drive)}, {"size", bytes}});
}

}  // namespace px::node
