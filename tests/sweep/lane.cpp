#include "sweep/lane.hpp"

#include "environment.hpp"
#include "image/cloud_seed.hpp"
#include "run.hpp"
#include "sandbox/run.hpp"
#include "support/log.hpp"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iostream>
#include <mutex>
#include <set>
#include <unistd.h>

namespace px::testing {

namespace {

using namespace std::chrono_literals;

constexpr int lanes_at_once = 10;
constexpr std::int64_t stranger = 900;
constexpr int most_rounds = 300;  // a sweep that never comes to its end is a mistake of ours

/// The log of the core that works on this thread.
thread_local std::vector<std::string> log_lines;

void keep_log_lines() {
  log::set_level(log::Level::debug);
  log::set_sink([](log::Level level, std::string_view line) {
    const bool must_act = level == log::Level::warn || level == log::Level::error;
    log_lines.push_back((must_act ? "WARNING " : "") + std::string{line});
  });
}

node::NodeOptions options_of(const std::filesystem::path& directory,
                             const std::shared_ptr<HostGuest>& guest) {
  auto options = NodeUnderTest::options_for("proxmox");
  options.directory = directory;
  options.simulation->boot_time = 0ms;
  options.simulation->guest = guest;
  options.refusal_delay = 10ms;
  return options;
}

/// A disk's file system takes longer to make and delete the small files of thousands of scripts
/// than the scripts take to run; and a guest's /run is in memory, too.
void live_in_memory() {
  const char* memory = "/dev/shm";
  if (::access(memory, W_OK) == 0) ::setenv("TMPDIR", memory, 1);
}

/// The image of the built-in: simulated disks take any bytes.
void make_images(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  std::ofstream{directory / "debian13-small.qcow2"} << std::string(512, 'x');
  ::setenv("PROXMOX_SANDBOX_IMAGES", directory.c_str(), 1);
}

}  // namespace

const std::string two_vms = R"({"sdn_config": null, "vms_config": [
    {"vm_source_config": {"built_in": "debian13-small"}, "name": "first", "nics": []},
    {"vm_source_config": {"built_in": "debian13-small"}, "name": "second", "nics": []}]})";

Lane::Lane(bool by_password)
    : guest_{std::make_shared<HostGuest>(directory_.path() / "node")},
      node_{options_of(directory_.path() / "node", guest_)},
      environment_{environment_of(node_.variables(by_password))} {
  auto prepare = [](asio::thread_pool& threads, sandbox::Environment values) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, threads, std::move(values)};
    co_await run.prepare(two_vms);
    co_await run.sweep(true);
  };
  px::testing::run(prepare(pool_, environment_));
  // Nobody's business but its owner's: clean-up must not touch it.
  node_.end_of_task(
      node_.call("POST", "/nodes/proxmox/qemu", fmt::format("vmid={}", stranger)).text());
  node_.call("POST", "/cluster/sdn/zones", "zone=office&type=simple");
  node_.call("POST", "/cluster/sdn/vnets", "zone=office&vnet=office");
  node_.call("POST", "/cluster/firewall/groups", "group=office");
  node_.call("POST", "/pools", "poolid=inspect-00000000-proxmox&comment=office");
  node_.end_of_task(node_.call("PUT", "/cluster/sdn").text());
}

const std::vector<std::string>& Lane::log() {
  return log_lines;
}

void Lane::arm(int n, const std::string& fault) {
  guest_->begin(directory_.path() / "guests");
  log_lines.clear();
  control("reset", "");
  control("faults", fmt::format("{}&nth={}", fault, n));
}

int Lane::disarm() {
  const auto counted = node_.send("GET", "/_control/requests", {}).data();
  control("reset", "");
  return static_cast<int>(json::number_at(counted, "total"));
}

void Lane::leave_medium(const std::string& name) const {
  std::ofstream{directory_.path() / "node/storage/local/template/iso" / name} << "medium";
}

void Lane::control(const std::string& path, const std::string& form) const {
  const auto reply = node_.send("POST", "/_control/" + path,
                                {{"Content-Type", "application/x-www-form-urlencoded"}}, form);
  if (reply.status != 200) throw Error{Errc::internal, path + " " + form + ": " + reply.body};
}

json::array Lane::list(const std::string& path) const {
  return node_.call("GET", "/nodes/proxmox" + path).data().as_array();
}

/// Networks besides the stranger's, pending ones too, and the lock.
void Lane::add_networks(std::vector<std::string>& out) const {
  for (const auto& [path, key] : {std::pair{"/cluster/sdn/zones", "zone"},
                                  {"/cluster/sdn/vnets", "vnet"},
                                  {"/cluster/firewall/groups", "group"}}) {
    bool stranger_is_there = false;
    const auto query = std::string_view{path}.starts_with("/cluster/sdn") ? "pending=1" : "";
    const auto all = node_.call("GET", path, query).data();
    for (const auto& entry : all.as_array()) {
      const bool office = json::text_at(entry, key) == "office";
      stranger_is_there = stranger_is_there || office;
      if (!office) out.push_back(std::string{key} + " " + boost::json::serialize(entry));
    }
    if (!stranger_is_there) out.push_back(fmt::format("not the {} of someone else", key));
  }
  const auto lock = node_.call("POST", "/cluster/sdn/lock", "allow-pending=1");
  if (lock.status != 200) {
    out.push_back("the SDN's lock");
  } else {
    node_.call("DELETE", "/cluster/sdn/lock", "lock-token=" + lock.text());
  }
}

/// Pools besides the stranger's, which only is named like a record.
void Lane::add_records(std::vector<std::string>& out) const {
  bool stranger_is_there = false;
  const auto all = node_.call("GET", "/pools").data();
  for (const auto& pool : all.as_array()) {
    const bool office = json::text_or(pool, "comment") == "office";
    stranger_is_there = stranger_is_there || office;
    if (!office) out.push_back("pool " + boost::json::serialize(pool));
  }
  if (!stranger_is_there) out.emplace_back("not the pool of someone else");
}

std::vector<std::string> Lane::leftovers() const {
  // Who deletes a medium does not wait for the task.
  auto running = list("/tasks?source=active");
  for (int look = 0; look < 100 && !running.empty(); ++look) {
    std::this_thread::sleep_for(10ms);
    running = list("/tasks?source=active");
  }
  std::vector<std::string> out;
  for (const auto& task : running) out.push_back("task " + boost::json::serialize(task));
  std::set<std::int64_t> templates;
  bool stranger_is_there = false;
  for (const auto& vm : list("/qemu")) {
    const auto vmid = json::number_at(vm, "vmid");
    const bool is_template = json::flag_or(vm, "template", false);
    if (is_template) templates.insert(vmid);
    if (vmid == stranger) stranger_is_there = true;
    const bool belongs_here = is_template || vmid == stranger;
    if (!belongs_here || json::find(vm, "lock")) {
      out.push_back("VM " + boost::json::serialize(vm));
    }
  }
  if (!stranger_is_there) out.push_back("not the VM of someone else, which is gone");
  for (const auto* storage : {"local", "local-lvm"}) {
    for (const auto& volume : list(fmt::format("/storage/{}/content", storage))) {
      if (templates.contains(json::number_or(volume, "vmid", 0))) continue;
      const auto volid = json::text_at(volume, "volid");
      if (!image::is_seed(volid.substr(volid.rfind('/') + 1))) out.push_back("volume " + volid);
    }
  }
  add_networks(out);
  add_records(out);
  return out;
}

std::vector<Round> sweep(bool by_password, const std::function<Round(Lane&, int)>& round) {
  live_in_memory();
  const TemporaryDirectory images;
  make_images(images.path());
  keep_log_lines();
  std::atomic<int> next{1};
  std::atomic<bool> through{false};
  std::mutex mutex;
  std::vector<Round> rounds;
  const auto run_lane = [&] {
    Lane lane{by_password};
    while (!through) {
      const int n = next++;
      auto done = round(lane, n);
      done.n = n;
      done.log = log_lines;
      if (n > most_rounds) done.mistakes.emplace_back("the sweep comes to no end");
      if (done.requests < n || n > most_rounds) through = true;
      const std::lock_guard lock{mutex};
      rounds.push_back(std::move(done));
    }
  };
  std::vector<std::future<void>> lanes;
  for (int i = 0; i < lanes_at_once; ++i) {
    lanes.push_back(std::async(std::launch::async, run_lane));
  }
  for (auto& lane : lanes) lane.get();
  log::set_sink({});
  std::ranges::sort(rounds, {}, &Round::n);
  return rounds;
}

int report(const std::vector<Round>& rounds) {
  int failed = 0;
  int survived = 0;
  for (const auto& round : rounds) {
    if (round.n <= round.requests) {
      ++failed;
      if (round.end.empty()) ++survived;
    }
    if (!round.end.empty()) std::cout << "  n = " << round.n << ": " << round.end << "\n";
    if (round.mistakes.empty()) continue;
    ADD_FAILURE() << "n = " << round.n << " of " << round.requests << " requests:\n  "
                  << fmt::format("{}", fmt::join(round.mistakes, "\n  ")) << "\nits log:\n  "
                  << fmt::format("{}", fmt::join(round.log, "\n  "));
  }
  std::cout << "  " << failed << " requests went wrong, each once; " << survived
            << " times nobody noticed\n";
  return failed;
}

}  // namespace px::testing
