// Networks in real namespaces, with guests that are namespaces too. Skipped where they can't be
// made.
#include "node/namespace_guest.hpp"
#include "sanitized.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace px::node {
namespace {

using namespace std::chrono_literals;
using node::testing::add_network;
using node::testing::Guest;
using node::testing::obstacle;
using node::testing::TemporaryDirectory;
using ::testing::HasSubstr;
using ::testing::Not;

class RealNetworks : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = obstacle(); !reason.empty()) GTEST_SKIP() << reason;
    before_ = links_of_host();
    start();
  }
  void TearDown() override {
    networks_.reset();
    sdn_.reset();
    EXPECT_EQ(links_of_host(), before_) << "the host's own network was touched";
  }

  static std::string links_of_host() { return run_tool({"ip", "-br", "link"}).output; }

  void start(const std::vector<RunningMachine>& machines = {}) {
    networks_.reset();
    sdn_.emplace(state_, "pve1");
    firewall_.emplace(state_, true);
    networks_ =
        std::make_unique<Networks>(*sdn_, *firewall_, pool_, state_.path("network"), machines);
  }

  void add_network(int number) { testing::add_network(*sdn_, number, false); }
  void apply() {
    sdn_->commit({}, true);
    px::testing::run(networks_->apply());
  }
  /// A guest whose card is booked.
  std::unique_ptr<Guest> guest(int number, const std::string& vnet) {
    const auto mac = fmt::format("BC:24:11:00:00:{:02X}", number);
    sdn_->confirm({vnet, mac}, fmt::format("g{}", number), 100 + number);
    px::testing::run(networks_->apply());
    return std::make_unique<Guest>(*networks_->space(), directory_.path(),
                                   fmt::format("guest{}", number), vnet, mac);
  }

  TemporaryDirectory directory_;
  State state_{directory_.path() / "node"};
  asio::thread_pool pool_{2};
  std::optional<Sdn> sdn_;
  std::optional<Firewall> firewall_;
  std::unique_ptr<Networks> networks_;
  std::string before_;
};

TEST_F(RealNetworks, leaseWhatIsBookedAndKeepVnetsApart) {
  add_network(1);
  add_network(2);
  apply();
  const auto first = guest(1, "v1");
  const auto second = guest(2, "v1");
  const auto other = guest(3, "v2");
  EXPECT_EQ(first->lease(), "10.77.1.10");
  EXPECT_EQ(second->lease(), "10.77.1.11");
  EXPECT_EQ(other->lease(), "10.77.2.10");
  EXPECT_TRUE(first->reaches("10.77.1.1")) << "its gateway";
  EXPECT_TRUE(first->reaches("10.77.1.11")) << "a guest on the same VNet";
  EXPECT_FALSE(first->reaches("10.77.2.10")) << "a guest on another VNet";
  EXPECT_FALSE(first->reaches("10.77.2.1")) << "another VNet's gateway";
  first->run("ip addr add 10.77.2.66/24 dev eth0");
  EXPECT_FALSE(first->reaches("10.77.2.10")) << "with an address of the other VNet";
}

TEST_F(RealNetworks, leaveNothingOfTheNodeOpenToAGuest) {
  add_network(1);
  apply();
  const auto one = guest(1, "v1");
  EXPECT_EQ(one->lease(), "10.77.1.10");
  // A server on all addresses of the namespace, as worst case of what might listen there.
  std::ofstream{directory_.path() / "flag"} << "secret";
  auto server =
      Process::spawn({"busybox", "httpd", "-f", "-p", "8006", "-h", directory_.path().string()},
                     "/", directory_.path() / "httpd.log", networks_->space()->for_machines());
  const auto answers = [this] {
    return run_tool({"busybox", "wget", "-Y", "off", "-q", "-O", "/dev/null",
                     "http://127.0.0.1:8006/flag"},
                    networks_->space()->for_machines())
               .exit_code == 0;
  };
  for (int i = 0; i < 100 && !answers(); ++i) std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(answers()) << "the server is there";
  EXPECT_FALSE(one->reads("http://10.77.1.1:8006/flag"));
  const auto link_local =
      run_tool({"ip", "-6", "addr", "show", "dev", "v1"}, networks_->space()->for_machines())
          .output;
  EXPECT_EQ(link_local, "") << "the bridge has an IPv6 address";
  server.kill();
  while (server.alive()) std::this_thread::sleep_for(1ms);
}

TEST_F(RealNetworks, giveAnAddressToItsNewOwner) {
  add_network(1);
  apply();
  auto one = guest(1, "v1");
  EXPECT_EQ(one->lease(), "10.77.1.10");
  one.reset();
  sdn_->leave({"v1", "BC:24:11:00:00:01"});
  const auto two = guest(2, "v1");
  EXPECT_EQ(two->lease(), "10.77.1.10");
  sdn_->move("v1", "10.77.1.50", "BC:24:11:00:00:02", 102);
  px::testing::run(networks_->apply());
  EXPECT_EQ(two->lease(), "10.77.1.50") << "a booking that was moved";
}

TEST_F(RealNetworks, changeAndGoWithTheConfiguration) {
  add_network(1);
  add_network(2);
  apply();
  const auto addresses = [this] {
    return run_tool({"ip", "-br", "addr"}, networks_->space()->for_machines()).output;
  };
  EXPECT_THAT(addresses(), HasSubstr("10.77.1.1/24"));
  EXPECT_EQ(networks_->problem("v1"), "");
  EXPECT_THAT(networks_->problem("v3"), HasSubstr("not generated"));
  sdn_->change({}, "test", [](SdnConfig& config, Ipam&) {
    config.subnets.at("z-10.77.1.0-24")["gateway"] = "10.77.1.254";
    config.subnets.erase("z-10.77.2.0-24");
    config.vnets.erase("v2");
  });
  apply();
  EXPECT_THAT(addresses(), HasSubstr("10.77.1.254/24"));
  EXPECT_THAT(addresses(), Not(HasSubstr("10.77.1.1/24")));
  EXPECT_THAT(addresses(), Not(HasSubstr("v2")));
}

TEST_F(RealNetworks, areMadeQuicklyAndInNumbers) {
  for (int i = 1; i <= 10; ++i) add_network(i);
  const auto begin = std::chrono::steady_clock::now();
  apply();
  const auto ten = std::chrono::steady_clock::now() - begin;
  for (int i = 11; i <= 50; ++i) add_network(i);
  apply();
  const auto bridges =
      run_tool({"ip", "-br", "link", "show", "type", "bridge"}, networks_->space()->for_machines())
          .output;
  EXPECT_EQ(std::count(bridges.begin(), bridges.end(), '\n'), 50);
  for (int i = 1; i <= 50; ++i) EXPECT_EQ(networks_->problem(fmt::format("v{}", i)), "");
  RecordProperty(
      "ten_ms", std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(ten).count()));
  // A second is promised on two cores, to the optimised program.
  EXPECT_LT(ten, px::testing::is_sanitized ? 5s : 1s);
}

TEST_F(RealNetworks, areTakenOverFromAKilledNodeWhoseMachinesLive) {
  add_network(1);
  apply();
  const auto one = guest(1, "v1");
  EXPECT_EQ(one->lease(), "10.77.1.10");
  // Stands for a QEMU: in the namespace of the networks, not in one of its own.
  auto machine = Process::spawn({"sleep", "600"}, "/", directory_.path() / "machine.log",
                                networks_->space()->for_machines());
  const auto space_of = [](pid_t process) {
    return std::filesystem::read_symlink(fmt::format("/proc/{}/ns/net", process));
  };
  const auto old = space_of(machine.pid());
  start({{101, machine.pid(), {}}});
  px::testing::run(networks_->apply());
  EXPECT_EQ(space_of(networks_->space()->holder()), old);
  EXPECT_TRUE(one->reaches("10.77.1.1"));
  EXPECT_EQ(one->lease(), "10.77.1.10") << "served again";
  machine.kill();
  while (machine.alive()) std::this_thread::sleep_for(1ms);
}

TEST_F(RealNetworks, haveAUserNamespaceOfTheirOwnWithoutRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "it is so in all tests here";
  // What changes without root is the user namespace: its maps are written by hand in Namespace.
  const auto tried = run_tool({"unshare", "-Urn", "true"});
  if (tried.exit_code != 0) GTEST_SKIP() << "no user namespaces: " << tried.errors;
  const pid_t child = ::fork();
  if (child == 0) {
    // A process that gave up root may not touch its own maps until it says that it may be seen.
    if (::setgid(65534) != 0 || ::setuid(65534) != 0 || ::prctl(PR_SET_DUMPABLE, 1) != 0) {
      ::_exit(10);
    }
    try {
      const auto space = Namespace::make();
      const auto links =
          run_tool({"ip", "link", "add", "v1", "type", "bridge"}, space.for_helpers());
      ::_exit(space.is_root() ? 11 : links.exit_code == 0 ? 0 : 12);
    } catch (const Error&) {
      ::_exit(13);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(NodeNamespace, endsWithANodeThatIsKilled) {
  if (const auto reason = obstacle(); !reason.empty()) GTEST_SKIP() << reason;
  std::array<int, 2> report{};
  ASSERT_EQ(::pipe(report.data()), 0);
  const pid_t node = ::fork();
  if (node == 0) {
    const auto space = Namespace::make();
    run_tool(Namespace::as_member({"sh", "-c", "sleep 600 >/dev/null 2>&1 </dev/null &"}),
             space.for_helpers());
    const pid_t holder = space.holder();
    [[maybe_unused]] const auto told = ::write(report[1], &holder, sizeof holder);
    ::pause();
    ::_exit(0);
  }
  pid_t holder = 0;
  ASSERT_EQ(::read(report[0], &holder, sizeof holder), static_cast<ssize_t>(sizeof holder));
  const auto members = [space =
                            std::filesystem::read_symlink(fmt::format("/proc/{}/ns/net", holder))] {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
      std::error_code error;
      const auto theirs = std::filesystem::read_symlink(entry.path() / "ns" / "net", error);
      if (!error && theirs == space) ++count;
    }
    return count;
  };
  EXPECT_GE(members(), 2) << "the holder and a helper";
  ::kill(node, SIGKILL);
  ::waitpid(node, nullptr, 0);
  for (int i = 0; i < 500 && members() > 0; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(members(), 0);
}

/// A host with a network of its own and an outside behind a router, made of namespaces.
class World {
 public:
  explicit World(const std::filesystem::path& directory)
      : router_{Process::spawn({"unshare", "-n", "sleep", "600"}, directory,
                               directory / "router.log")} {
    std::ofstream{directory / "flag"} << "secret";
    const auto ns = fmt::format("/proc/{}/ns/net", router_.pid());
    const auto ours = std::filesystem::read_symlink("/proc/self/ns/net");
    for (int i = 0; i < 500 && std::filesystem::read_symlink(ns) == ours; ++i) {
      std::this_thread::sleep_for(2ms);
    }
    Inside inside;
    inside.net = ::open(ns.c_str(), O_RDONLY | O_CLOEXEC);
    run_tool({"sh", "-c",
              fmt::format("ip link set lo up; ip link add wan0 type veth peer name eth0 netns {}; "
                          "ip addr add 10.99.0.1/24 dev wan0; ip link set wan0 up",
                          router_.pid())});
    run_tool({"sh", "-c",
              "ip link set lo up; ip addr add 203.0.113.9/32 dev lo; "
              "ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up"},
             inside);
    run_tool({"ip", "route", "add", "default", "via", "10.99.0.2"});
    serve(directory, inside);
    serve(directory, {});
    ::close(inside.net);
    for (int i = 0; i < 100 && !reads("http://203.0.113.9/flag"); ++i) {
      std::this_thread::sleep_for(20ms);
    }
  }
  ~World() {
    servers_.push_back(router_);
    for (auto& server : servers_) {
      server.kill();
      while (server.alive()) std::this_thread::sleep_for(1ms);
    }
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  static bool reads(const std::string& url) {
    // Debian 12's busybox dies of wget's own option for a limit.
    return run_tool({"busybox", "timeout", "2", "busybox", "wget", "-Y", "off", "-q", "-O",
                     "/dev/null", url})
               .exit_code == 0;
  }

 private:
  void serve(const std::filesystem::path& directory, const Inside& inside) {
    servers_.push_back(
        Process::spawn({"busybox", "httpd", "-f", "-p", "80", "-h", directory.string()}, "/",
                       directory / "world.log", inside));
  }

  Process router_;
  std::vector<Process> servers_;
};

/// What is wrong with the way out of a host's guests; runs in a network namespace of its own.
std::string try_the_way_out(const std::filesystem::path& directory) {
  const World world{directory};
  if (!World::reads("http://203.0.113.9/flag")) return "the host itself does not reach the outside";
  if (!World::reads("http://10.99.0.1/flag")) return "the host's own server is not there";
  State state{directory / "node"};
  asio::thread_pool pool{1};
  Sdn sdn{state, "pve1"};
  Firewall firewall{state, true};
  Networks networks{sdn, firewall, pool, state.path("network"), {}};
  add_network(sdn, 1, true);
  add_network(sdn, 2, false);
  sdn.commit({}, true);
  sdn.confirm({"v1", "BC:24:11:00:00:01"}, "a", 101);
  sdn.confirm({"v2", "BC:24:11:00:00:02"}, "b", 102);
  px::testing::run(networks.apply());
  MachineSetup setup;
  setup.options = {{"net0", "virtio=BC:24:11:00:00:01,bridge=v1,firewall=1"}};
  px::testing::run(networks.attach(101, setup));
  run_tool({"ip", "link", "del", "dev", "tap101i0"}, networks.space()->for_machines());
  Guest open{*networks.space(), directory, "tap101i0", "v1", "BC:24:11:00:00:01"};
  Guest closed{*networks.space(), directory, "guest2", "v2", "BC:24:11:00:00:02"};
  if (open.lease() != "10.77.1.10" || closed.lease() != "10.77.2.10") return "no lease";
  if (!open.reads("http://203.0.113.9/flag")) return "SNAT leads nowhere";
  if (closed.reads("http://203.0.113.9/flag")) return "without SNAT the outside is open";
  for (const auto* forbidden :
       {"10.99.0.1", "10.99.0.2", "198.18.255.2", "10.77.1.1", "127.0.0.1", "169.254.169.254"}) {
    if (open.reads(fmt::format("http://{}/flag", forbidden))) {
      return fmt::format("{} is open", forbidden);
    }
  }
  // A VM that may go out by its own firewall, to one port.
  const auto allow = [&](const char* ports) {
    firewall.change(Firewall::vm_name(101), [&](FirewallFile& file) {
      file.options = {{"enable", 1}, {"policy_in", "DROP"}, {"policy_out", "DROP"}};
      file.rules = {{{"type", "out"},
                     {"action", "DROP"},
                     {"dest", "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"},
                     {"enable", 1}},
                    {{"type", "out"},
                     {"action", "ACCEPT"},
                     {"dest", "0.0.0.0/0"},
                     {"proto", "tcp"},
                     {"dport", ports},
                     {"enable", 1}}};
    });
    px::testing::run(networks.filter(101));
  };
  allow("80,443");
  if (!open.reads("http://203.0.113.9/flag")) return "the firewall's rules let nothing out";
  allow("443");
  if (open.reads("http://203.0.113.9/flag")) return "the firewall's rules let out too much";
  return {};
}

TEST(NodeUplink, leadsOutWithSnatButNotToTheHostAndItsNetworks) {
  if (const auto reason = obstacle(); !reason.empty()) GTEST_SKIP() << reason;
  if (::geteuid() != 0) GTEST_SKIP() << "the world around it needs root";
  if (run_tool({"sh", "-c", "command -v slirp4netns"}).exit_code != 0) {
    GTEST_SKIP() << "slirp4netns is not installed";
  }
  const TemporaryDirectory directory;
  const pid_t child = ::fork();
  if (child == 0) {
    std::string problem = "no network namespace";
    if (::unshare(CLONE_NEWNET) == 0) {
      try {
        problem = try_the_way_out(directory.path());
      } catch (const std::exception& error) {
        problem = error.what();
      }
    }
    std::ofstream{directory.path() / "problem"} << problem;
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  std::ifstream told{directory.path() / "problem"};
  ASSERT_TRUE(told.is_open());
  std::string problem;
  std::getline(told, problem);
  EXPECT_EQ(problem, "");
}

}  // namespace
}  // namespace px::node
