#include "cli/node.hpp"

#include "cli/exit.hpp"
#include "node/node.hpp"
#include "sandbox/instances.hpp"
#include "support/error.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <regex>
#include <signal.h>
#include <sstream>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace px::cli {

namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr std::string_view token_name = "sandbox";

struct Options {
  std::string directory;
  std::uint16_t port = 8006;
  std::string name = "proxmox";
  std::vector<std::string> nodes;  ///< of a simulated cluster
  std::optional<int> memory_gb;    ///< of a simulated node
  std::optional<int> cores;
  std::optional<int> boot_ms;
  std::optional<int> task_ms;
  std::optional<int> tasks_at_once;
  std::string output;
  std::string accelerator = "auto";
  bool simulated = false;
  bool control = false;
  bool background = false;
  bool stop = false;
  bool status = false;
};

fs::path default_directory() {
  const auto state = sandbox::state_directory(sandbox::process_environment());
  return (state.empty() ? fs::path{"./.local/state/proxmox-sandbox"} : state) / "node";
}

/// Written when the node answers; tells its users how to reach it. For the user's eyes only.
struct Running {
  int pid = 0;
  std::uint64_t started = 0;  ///< of the process, so that another one of that number is not it
  std::vector<std::pair<std::string, std::string>> exports;
};

/// Start time of a process in clock ticks since boot; 0 when it is gone.
std::uint64_t start_time(int pid) {
  const auto stat = read_stat(fmt::format("/proc/{}", pid));
  return stat && stat->state != 'Z' ? stat->start_ticks : 0;
}

fs::path running_file(const fs::path& directory) {
  return directory / "running.json";
}

std::optional<Running> find_running(const fs::path& directory) {
  std::ifstream file{running_file(directory)};
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return std::nullopt;
  const auto record = json::parse(text.str(), running_file(directory).string());
  Running out;
  out.pid = static_cast<int>(json::number_at(record, "pid"));
  out.started = static_cast<std::uint64_t>(json::number_at(record, "started"));
  if (out.started == 0 || start_time(out.pid) != out.started) return std::nullopt;
  for (const auto& [name, value] : record.at("exports").as_object()) {
    out.exports.emplace_back(name, std::string{value.as_string()});
  }
  return out;
}

void save_running(const fs::path& directory, const Running& running) {
  json::object exports;
  for (const auto& [name, value] : running.exports) exports[name] = value;
  const json::object record{
      {"pid", running.pid}, {"started", running.started}, {"exports", exports}};
  const auto beside = running_file(directory).string() + ".new";
  {
    const int made = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (made >= 0) ::close(made);
    std::ofstream file{beside, std::ios::trunc};
    file << boost::json::serialize(record);
  }
  fs::rename(beside, running_file(directory));
}

std::string quote(const std::string& value) {
  std::string out = "'";
  for (const char c : value) out += c == '\'' ? std::string{"'\\''"} : std::string{c};
  return out + "'";
}

void print_exports(const Running& running) {
  for (const auto& [name, value] : running.exports)
    fmt::print("export {}={}\n", name, quote(value));
}

node::NodeOptions to_node_options(const Options& options) {
  node::NodeOptions out;
  out.directory = options.directory;
  out.name = options.name;
  out.port = options.port;
  out.control = options.control;
  if (options.accelerator == "tcg") out.accelerator = node::AcceleratorChoice::tcg;
  if (options.accelerator == "kvm") out.accelerator = node::AcceleratorChoice::kvm;
  if (options.simulated) {
    auto& simulation = out.simulation.emplace();
    if (options.memory_gb) simulation.memory = std::int64_t{*options.memory_gb} << 30;
    if (options.cores) simulation.cores = *options.cores;
    simulation.guest = std::make_shared<node::SimulatedGuest>(options.output);
    if (options.boot_ms) simulation.boot_time = std::chrono::milliseconds{*options.boot_ms};
    auto& pace = simulation.task_pace;
    if (options.task_ms) pace.time = std::chrono::milliseconds{*options.task_ms};
    if (options.tasks_at_once) pace.at_once = static_cast<std::size_t>(*options.tasks_at_once);
  }
  if (!options.nodes.empty())
    out.other_nodes.assign(options.nodes.begin() + 1, options.nodes.end());
  return out;
}

/// A line for each request that changes something, and for each task's end.
void show_what_happens(node::Node& node) {
  const auto seconds = [started = std::chrono::steady_clock::now()] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  };
  node.on_request([seconds](const std::string& method, const std::string& path,
                            const std::string& user, int status) {
    fmt::print(stderr, "{:9.3f} {:6} {} {} {}\n", seconds(), method, path, status, user);
  });
  node.on_task_end([seconds](const std::string& upid, const std::string& status) {
    // UPID:node:pid:pstart:starttime:TYPE:ID:user:
    std::vector<std::string> pieces;
    std::istringstream words{upid};
    for (std::string piece; std::getline(words, piece, ':');) pieces.push_back(piece);
    fmt::print(stderr, "{:9.3f} task   {} {}: {}\n", seconds(), pieces.at(5), pieces.at(6), status);
  });
}

/// Serves until SIGTERM or SIGINT; a second one ends it at once.
int serve(const Options& options) {
  asio::io_context io{1};
  asio::thread_pool pool{2};
  node::Node node{io.get_executor(), pool, to_node_options(options)};
  show_what_happens(node);
  Running running;
  running.pid = ::getpid();
  running.started = start_time(running.pid);
  running.exports = {
      {"PROXMOX_HOST", "127.0.0.1"},
      {"PROXMOX_PORT", std::to_string(node.port())},
      {"PROXMOX_NODE", options.name},
      {"PROXMOX_FINGERPRINT", node.fingerprint()},
      {"PROXMOX_TOKEN_ID", fmt::format("root@pam!{}", token_name)},
      {"PROXMOX_TOKEN_SECRET", node.token(std::string{token_name}).reveal()},
      // In a cluster, where a clone may come up on every node.
      {"PROXMOX_IMAGE_STORAGE", options.nodes.size() > 1 ? "shared" : "local"},
  };
  save_running(options.directory, running);
  fmt::print(stderr,
             "The local node {} answers on https://127.0.0.1:{} ({}); its state is in {}.\n",
             options.name, node.port(), node.hardware(), options.directory);

  asio::signal_set signals{io, SIGTERM, SIGINT};
  std::exception_ptr failure;
  asio::co_spawn(io, node.run(), [&](std::exception_ptr error) { failure = error; });
  signals.async_wait([&](const boost::system::error_code& error, int) {
    if (error) return;
    fmt::print(stderr, "Stopping the VMs; again to stop at once.\n");
    asio::co_spawn(io, node.stop(), [&](std::exception_ptr) { io.stop(); });
    signals.async_wait([&](const boost::system::error_code& again, int) {
      if (!again) io.stop();
    });
  });
  io.run();
  fs::remove(running_file(options.directory));
  if (failure) std::rethrow_exception(failure);
  return 0;
}

/// Starts this program again in a session of its own, with the node's log as its output.
void spawn_in_background(const Options& options) {
  fs::create_directories(options.directory);
  const auto log = fs::path{options.directory} / "node.log";
  std::vector<std::string> words{"proxmox-sandbox", "node",
                                 "--dir",           options.directory,
                                 "--port",          std::to_string(options.port),
                                 "--accel",         options.accelerator};
  if (options.simulated) words.emplace_back("--simulated");
  words.push_back(options.nodes.empty() ? "--name=" + options.name
                                        : fmt::format("--nodes={}", fmt::join(options.nodes, ",")));
  const auto add = [&words](std::string_view name, const std::optional<int>& value) {
    if (value) words.push_back(fmt::format("--{}={}", name, *value));
  };
  add("memory-gb", options.memory_gb);
  add("cores", options.cores);
  add("boot-ms", options.boot_ms);
  add("task-ms", options.task_ms);
  add("tasks-at-once", options.tasks_at_once);
  if (!options.output.empty()) words.push_back("--output=" + options.output);
  if (options.control) words.emplace_back("--control");
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int child = ::fork();
  if (child < 0) throw Error{Errc::internal, "fork failed"};
  if (child > 0) {
    ::waitpid(child, nullptr, 0);
    return;
  }
  // Twice, so that init adopts the node and no shell waits for it.
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  const int nothing = ::open("/dev/null", O_RDONLY);
  const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::dup2(nothing, 0);
  ::dup2(output, 1);
  ::dup2(output, 2);
  ::close_range(3, ~0U, 0);
  ::execv("/proc/self/exe", argv.data());
  ::_exit(127);
}

std::string tail_of(const fs::path& file) {
  std::ifstream in{file};
  std::ostringstream text;
  text << in.rdbuf();
  const auto all = text.str();
  return all.substr(all.size() - std::min<std::size_t>(all.size(), 2000));
}

int start_in_background(const Options& options) {
  if (const auto running = find_running(options.directory)) {
    fmt::print(stderr, "The local node runs already (process {}).\n", running->pid);
    print_exports(*running);
    return 0;
  }
  spawn_in_background(options);
  const auto log = fs::path{options.directory} / "node.log";
  // Making its certificate and probing KVM takes a second or two.
  for (int i = 0; i < 600; ++i) {
    if (const auto running = find_running(options.directory)) {
      fmt::print(stderr, "The local node runs (process {}); its log: {}\n", running->pid,
                 log.string());
      print_exports(*running);
      return 0;
    }
    std::this_thread::sleep_for(50ms);
    std::error_code error;
    const auto text = tail_of(log);
    if (text.find("proxmox-sandbox: ") != std::string::npos) {
      throw Error{Errc::internal, "the local node did not start: " + text};
    }
  }
  throw Error{Errc::timeout, "the local node did not answer within 30 s: " + tail_of(log)};
}

int stop(const Options& options) {
  const auto running = find_running(options.directory);
  if (!running) {
    fmt::print(stderr, "No local node runs on {}.\n", options.directory);
    return 0;
  }
  ::kill(running->pid, SIGTERM);
  for (int i = 0; i < 1200; ++i) {
    if (start_time(running->pid) != running->started) {
      fmt::print(stderr, "The local node has stopped.\n");
      return 0;
    }
    std::this_thread::sleep_for(50ms);
  }
  throw Error{Errc::timeout, fmt::format("process {} did not stop within 60 s", running->pid)};
}

int status(const Options& options) {
  const auto running = find_running(options.directory);
  fmt::print("{}\n", running ? fmt::format("running, process {}", running->pid) : "not running");
  return running ? 0 : findings;
}

/// What is wrong with a node's name; empty = nothing (pve-common JSONSchema.pm, pve-node).
std::string node_name_problem(const std::string& name) {
  static const std::regex form{"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"};
  if (std::regex_match(name, form)) return {};
  return fmt::format("'{}' is no node's name: letters, digits and inner hyphens", name);
}

int run(const Options& options) {
  if (options.stop) return stop(options);
  if (options.status) return status(options);
  if (options.background) return start_in_background(options);
  if (const auto running = find_running(options.directory)) {
    throw Error{Errc::busy, fmt::format("a local node runs already on {} (process {})",
                                        options.directory, running->pid)};
  }
  return serve(options);
}

}  // namespace

void add_node_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "node", "Runs the local node: the Proxmox VE API over QEMU on this machine.");
  const auto options = std::make_shared<Options>();
  options->directory = default_directory().string();
  command->add_option("--dir", options->directory, "Directory of all its state")
      ->capture_default_str();
  command->add_option("--port", options->port, "Port on 127.0.0.1; 0 = any")->capture_default_str();
  auto* name = command->add_option("--name", options->name, "The node's name");
  name->capture_default_str();
  command->add_option("--accel", options->accelerator, "auto: KVM where guests really run under it")
      ->check(CLI::IsMember({"auto", "tcg", "kvm"}))
      ->capture_default_str();
  auto* simulated = command->add_flag("--simulated", options->simulated,
                                      "VMs without a guest, for tests of scale");
  command
      ->add_option("--nodes", options->nodes,
                   "Simulated: the nodes of a cluster; the first answers")
      ->delimiter(',')
      ->check(CLI::Validator{node_name_problem, "NAME"})
      ->needs(simulated)
      ->excludes(name);
  const auto add_dial = [&](const char* name, std::optional<int>& value, int least,
                            const char* text) {
    command->add_option(name, value, text)->check(CLI::Range(least, 1 << 20))->needs(simulated);
  };
  add_dial("--memory-gb", options->memory_gb, 1, "Simulated: GiB that each node has");
  add_dial("--cores", options->cores, 1, "Simulated: cores that each node has");
  add_dial("--boot-ms", options->boot_ms, 0, "Simulated: from power-on to an answering agent");
  add_dial("--task-ms", options->task_ms, 0, "Simulated: what each task takes");
  add_dial("--tasks-at-once", options->tasks_at_once, 1, "Simulated: of each node; more wait");
  command->add_option("--output", options->output, "Simulated: what each command in a guest prints")
      ->needs(simulated);
  command->add_flag("--control", options->control, "Serve counters and faults under /_control");
  auto* background = command->add_flag("--background", options->background,
                                       "Start, wait until it answers, print lines to export");
  auto* stop_flag = command->add_flag("--stop", options->stop, "End the node in the background");
  auto* status_flag = command->add_flag("--status", options->status, "Say whether it runs");
  background->excludes(stop_flag)->excludes(status_flag);
  command->callback([options, &exit_code] {
    options->directory = fs::absolute(options->directory).string();
    if (!options->nodes.empty()) options->name = options->nodes.front();
    exit_code = run(*options);
  });
}

}  // namespace px::cli
