#pragma once
#include "node/network/networks.hpp"
#include "node/vm_api.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <fstream>
#include <thread>
#include <unistd.h>

/// Guests that are network namespaces. They need root (or user namespaces and an open
/// /dev/net/tun), ip, nft, dnsmasq and busybox.
namespace px::node::testing {

/// Why networks can't be made here; empty when they can.
inline std::string obstacle() {
  for (const auto* program : {"ip", "nft", "dnsmasq", "busybox", "unshare"}) {
    if (run_tool({"sh", "-c", fmt::format("command -v {}", program)}).exit_code != 0) {
      return fmt::format("{} is not installed", program);
    }
  }
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) return "/dev/net/tun can't be opened";
  try {
    Namespace::make();
  } catch (const Error& error) {
    return error.said;
  }
  return {};
}

inline json::object simple_zone() {
  return {{"ipam", "pve"}, {"dhcp", "dnsmasq"}};
}

/// VNet vN with the subnet 10.77.N.0/24.
inline void add_network(Sdn& sdn, int number, bool snat) {
  sdn.change({}, "test", [&](SdnConfig& config, Ipam& ipam) {
    if (!config.zones.contains("z")) add_zone(config, "z", simple_zone());
    const auto vnet = fmt::format("v{}", number);
    add_vnet(config, vnet, {{"zone", "z"}});
    const auto id = fmt::format("z-10.77.{}.0-24", number);
    config.subnets[id] = {
        {"type", "subnet"},
        {"vnet", vnet},
        {"gateway", fmt::format("10.77.{}.1", number)},
        {"snat", snat ? 1 : 0},
        {"dhcp-range",
         json::array{fmt::format("start-address=10.77.{0}.10,end-address=10.77.{0}.99", number)}}};
    ipam.add_subnet(subnet_of(id, config.subnets[id]));
  });
}

/// A machine beside QEMU: a network namespace with one card on a VNet.
class Guest {
 public:
  /// `outside`: the end of its card in the namespace of the networks.
  Guest(const Namespace& space, const std::filesystem::path& directory, const std::string& outside,
        const std::string& vnet, const std::string& mac)
      : directory_{directory},
        process_{Process::spawn({"unshare", "-n", "sleep", "600"}, directory,
                                directory / "guest.log", space.for_machines())} {
    // unshare(1) makes the namespace a moment after its start.
    const auto own = fmt::format("/proc/{}/ns/net", process_.pid());
    const auto outer =
        std::filesystem::read_symlink(fmt::format("/proc/{}/ns/net", space.holder()));
    for (int i = 0; i < 500 && std::filesystem::read_symlink(own) == outer; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
    // Descriptors of its own: the guest may outlive the node's.
    const auto user = fmt::format("/proc/{}/ns/user", process_.pid());
    if (!space.is_root()) inside_.user = ::open(user.c_str(), O_RDONLY | O_CLOEXEC);
    inside_.net = ::open(own.c_str(), O_RDONLY | O_CLOEXEC);
    const auto made =
        run_tool({"sh", "-c",
                  fmt::format("ip link add {0} type veth peer name eth0 address {1} netns {2} && "
                              "ip link set {0} master {3} up",
                              outside, mac, process_.pid(), vnet)},
                 space.for_machines());
    EXPECT_EQ(made.exit_code, 0) << made.errors;
    run("ip link set lo up; ip link set eth0 up");
  }
  ~Guest() {
    programs_.push_back(process_);
    for (auto& program : programs_) {
      program.kill();
      while (program.alive()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    ::close(inside_.net);
    if (inside_.user >= 0) ::close(inside_.user);
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  ToolResult run(const std::string& command) const {
    return run_tool({"sh", "-c", command}, inside_);
  }
  /// Asks for an address, as a guest does at boot; returns it.
  std::string lease() {
    const auto script = directory_ / "udhcpc.sh";
    std::ofstream{script} << "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\n"
                             "ip addr flush dev eth0 scope global\n"
                             "ip addr add $ip/$mask dev eth0\n"
                             "[ -z \"$router\" ] || ip route add default via $router\n"
                             "echo $ip\n";
    std::filesystem::permissions(script, std::filesystem::perms::owner_all);
    auto got = run(fmt::format("busybox udhcpc -i eth0 -n -q -f -t 4 -T 1 -s {} 2>/dev/null",
                               script.string()))
                   .output;
    while (!got.empty() && got.back() == '\n') got.pop_back();
    return got;
  }
  bool reaches(const std::string& ip) const {
    return run(fmt::format("busybox ping -c 1 -W 1 {}", ip)).exit_code == 0;
  }
  /// Serves a file `flag` over HTTP until it goes.
  void serve(int port) {
    std::ofstream{directory_ / "flag"} << "secret";
    programs_.push_back(Process::spawn(
        {"busybox", "httpd", "-f", "-p", std::to_string(port), "-h", directory_.string()}, "/",
        directory_ / "guest.log", inside_));
    const auto listens = fmt::format("busybox netstat -ltn | grep -q ':{} '", port);
    for (int i = 0; i < 500 && run(listens).exit_code != 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
  }
  /// Reads a file of an HTTP server.
  bool reads(const std::string& url) const {
    return run(fmt::format("busybox timeout 2 busybox wget -Y off -q -O /dev/null {}", url))
               .exit_code == 0;
  }

 private:
  std::filesystem::path directory_;
  Process process_;
  std::vector<Process> programs_;
  Inside inside_;
};

}  // namespace px::node::testing
