#include "sandbox/isolation_probe.hpp"

#include "support/bytes.hpp"
#include "support/log.hpp"

#include <boost/algorithm/string/classification.hpp>
#include <boost/algorithm/string/split.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <sstream>

namespace px::sandbox {

using namespace std::chrono_literals;

namespace {

constexpr int ssh_port = 22;
constexpr std::size_t most_others = 8;
constexpr auto probe_limit = 60s;
constexpr auto rules_limit = 20s;

/// Prints what answers; silence is what is hoped for. A refusal is an answer, too: something that
/// is there said no. Each try takes at most 4 s, all of them run side by side.
constexpr std::string_view script = R"sh(
try() {
  if command -v bash >/dev/null; then
    said=$(LC_ALL=C timeout 4 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>&1)
  else
    said=$(LC_ALL=C timeout 4 nc -z -w 3 "$1" "$2" 2>&1 </dev/null)
  fi
  case $?:$said in
    0:*) echo "$1 $2 open" ;;
    *[Rr]efused*) echo "$1 $2 refused" ;;
  esac
}
command -v timeout >/dev/null || exit 3
command -v bash >/dev/null || command -v nc >/dev/null || exit 3
while read -r address port; do try "$address" "$port" & done
wait
)sh";

std::string address_part(const std::string& cidr) {
  return cidr.substr(0, cidr.find('/'));
}

bool is_named(const network::Isolation& isolation, const network::Address& address) {
  return std::ranges::any_of(isolation.destinations, [&](const network::Destination& item) {
    return item.cidr.contains(address);
  });
}

/// Each once, without what may be reached and what is no address of the network.
class List {
 public:
  explicit List(const network::Isolation& isolation) : isolation_{isolation} {}
  void add(const std::string& address, int port, const std::string& what) {
    boost::system::error_code error;
    const auto parsed = boost::asio::ip::make_address(address, error);
    if (error || parsed.is_loopback() || parsed.is_unspecified()) return;
    if (is_named(isolation_, parsed)) return;
    if (seen_.emplace(address, port).second) out_.push_back({address, port, what});
  }
  std::vector<Forbidden> take() { return std::move(out_); }

 private:
  const network::Isolation& isolation_;
  std::set<std::pair<std::string, int>> seen_;
  std::vector<Forbidden> out_;
};

bool has_way_out(const network::NetworkSet& set) {
  return set.plan.isolation.internet &&
         std::ranges::any_of(set.plan.vnets, [](const network::PlannedVnet& vnet) {
           return std::ranges::any_of(vnet.subnets, &network::PlannedSubnet::snat);
         });
}

/// fe80::be24:11ff:fe00:1 of "bc:24:11:00:00:01"; empty for what is no MAC.
std::string link_local(const std::string& mac) {
  std::vector<std::string> bytes;
  boost::split(bytes, mac, boost::is_any_of(":"));
  if (bytes.size() != 6) return {};
  std::vector<unsigned> numbers;
  for (const auto& byte : bytes) {
    numbers.push_back(static_cast<unsigned>(std::strtoul(byte.c_str(), nullptr, 16)));
  }
  return boost::asio::ip::make_address(
             fmt::format("fe80::{:02x}{:02x}:{:02x}ff:fe{:02x}:{:02x}{:02x}", numbers[0] ^ 2U,
                         numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]))
      .to_string();
}

awaitable<std::string> run(std::shared_ptr<Vm> vm, std::string text, std::string input) {
  guest::ExecRequest request;
  request.command.argv = {"sh", "-c", std::move(text)};
  request.input = std::move(input);
  request.user = "root";
  request.timeout = probe_limit;
  const auto result = co_await vm->exec(std::move(request));
  if (result.status == 0) co_return result.out;
  throw Error{Errc::unsupported,
              fmt::format("verify_isolation: {} can't try its networks: it needs timeout, and bash "
                          "or nc ({})",
                          vm->text(), result.err)};
}

awaitable<std::vector<std::string>> attempt(std::shared_ptr<Vm> vm,
                                            std::vector<Forbidden> forbidden) {
  std::string input;
  for (const auto& item : forbidden) input += fmt::format("{} {}\n", item.address, item.port);
  co_return reached(forbidden, co_await run(vm, std::string{probe_script()}, std::move(input)));
}

awaitable<std::vector<pve::sdn::Subnet>> all_subnets(pve::Client& client,
                                                     const network::NetworkSet& set) {
  std::vector<pve::sdn::Subnet> out;
  for (const auto& vnet : co_await pve::sdn::vnets(client)) {
    if (out.size() >= most_others) break;
    if (vnet.zone == set.zone || vnet.state != pve::sdn::State::applied) continue;
    for (auto& subnet : co_await pve::sdn::subnets(client, vnet.id)) {
      out.push_back(std::move(subnet));
    }
  }
  co_return out;
}

}  // namespace

std::string_view probe_script() noexcept {
  return script;
}

std::vector<Forbidden> forbidden_for(const network::NetworkSet& set,
                                     const std::vector<pve::nodes::NetworkInterface>& interfaces,
                                     const std::vector<pve::sdn::Subnet>& others, int api_port) {
  List list{set.plan.isolation};
  const auto add_host = [&](const std::string& address, const std::string& what) {
    list.add(address, api_port, what);
    list.add(address, ssh_port, what);
  };
  for (const auto& vnet : set.plan.vnets) {
    for (const auto& subnet : vnet.subnets) add_host(subnet.gateway.to_string(), "its gateway");
  }
  for (const auto& interface : interfaces) {
    for (const auto& cidr : interface.cidrs) {
      add_host(address_part(cidr), "the node's " + interface.name);
    }
  }
  for (const auto& subnet : others) {
    list.add(subnet.gateway, api_port, fmt::format("gateway of VNet {}", subnet.vnet));
  }
  list.add("169.254.169.254", 80, "metadata services");
  if (!has_way_out(set)) list.add("1.1.1.1", 443, "the internet");
  return list.take();
}

std::vector<Forbidden> link_local_of(const network::NetworkSet& set, std::string_view arp,
                                     int api_port) {
  std::vector<Forbidden> out;
  std::istringstream lines{std::string{arp}};
  for (std::string line; std::getline(lines, line);) {
    // IP address, HW type, flags, HW address, mask, device
    std::istringstream words{line};
    std::string address, type, flags, mac, mask, device;
    if (!(words >> address >> type >> flags >> mac >> mask >> device)) continue;
    const bool is_gateway = std::ranges::any_of(set.plan.vnets, [&](const auto& vnet) {
      return std::ranges::any_of(
          vnet.subnets, [&](const auto& subnet) { return subnet.gateway.to_string() == address; });
    });
    const auto bridge = link_local(mac);
    // An entry without an answer has the flags 0x0.
    if (!is_gateway || flags == "0x0" || bridge.empty()) continue;
    for (const int port : {api_port, ssh_port}) {
      out.push_back({fmt::format("{}%{}", bridge, device), port, "the bridge's own address"});
    }
  }
  return out;
}

std::vector<std::string> reached(const std::vector<Forbidden>& forbidden, std::string_view output) {
  std::vector<std::string> out;
  std::istringstream lines{std::string{output}};
  std::string address, how;
  for (int port = 0; lines >> address >> port >> how;) {
    const auto found = std::ranges::find_if(forbidden, [&](const Forbidden& item) {
      return item.address == address && item.port == port;
    });
    if (found == forbidden.end()) continue;
    out.push_back(fmt::format("{} port {} ({}) is {}", address, port, found->what, how));
  }
  return out;
}

awaitable<void> verify_isolation(Host& host, const network::NetworkSet& set,
                                 const std::vector<std::shared_ptr<Vm>>& vms) {
  const auto vm = std::ranges::find_if(
      vms, [](const auto& item) { return item->is_sandbox() && item->is_in_closed_subnet(); });
  if (vm == vms.end()) {
    log::warn("verify_isolation: no sandbox of the sample is in a closed network with a subnet");
    co_return;
  }
  const int port = host.instance().port;
  auto forbidden = forbidden_for(set, co_await pve::nodes::interfaces(host.client(), host.node()),
                                 co_await all_subnets(host.client(), set), port);
  const auto limit = Deadline::after(rules_limit);
  for (bool with_bridge = false;;) {
    const auto found = co_await attempt(*vm, forbidden);
    if (found.empty() && with_bridge) break;
    if (!found.empty() && limit.passed(std::chrono::steady_clock::now())) {
      throw Error{Errc::unsupported, fmt::format("verify_isolation: {} is not closed off: {}",
                                                 (*vm)->text(), fmt::join(found, "; "))}
          .with_hint(
              "Is the firewall's daemon running on the node (systemctl status pve-firewall "
              "proxmox-firewall)?");
    }
    if (std::exchange(with_bridge, true)) continue;
    // The tries of the gateways have made the guest ask for their MAC addresses.
    const auto arp = co_await run(*vm, "cat /proc/net/arp", "");
    for (auto& item : link_local_of(set, arp, port)) forbidden.push_back(std::move(item));
  }
  log::info("verify_isolation: {} gets no answer from any of {} addresses that are closed to it",
            (*vm)->text(), forbidden.size());
}

}  // namespace px::sandbox
