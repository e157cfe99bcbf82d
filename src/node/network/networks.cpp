#include "node/network/networks.hpp"

#include "node/firewall/guest_filter.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <ifaddrs.h>
#include <set>
#include <unistd.h>

namespace px::node {

namespace {

constexpr std::string_view uplink_name = "uplink0";
/// A range for tests of equipment (RFC 2544) that no real network should have: the inner side of
/// slirp4netns, which gives .2 to the way out, .3 to the resolver and .100 to our end.
constexpr std::string_view uplink_range = "198.18.255.0/24";
constexpr std::string_view uplink_resolver = "198.18.255.3";

void check_tun() {
  const int tun = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (tun < 0) {
    throw Error{Errc::unsupported, fmt::format("can't open /dev/net/tun: {}", std::strerror(errno))}
        .with_hint("Networks of VMs need it. Run the node as root, or let its user open it.");
  }
  ::close(tun);
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file{path, std::ios::trunc};
  file << text;
  if (!file.flush()) throw Error{Errc::server, fmt::format("can't write {}", path.string())};
}

int prefix_of(const sockaddr* mask) {
  const auto count = [](const unsigned char* bytes, std::size_t size) {
    int bits = 0;
    for (std::size_t i = 0; i < size; ++i) bits += __builtin_popcount(bytes[i]);
    return bits;
  };
  if (mask->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(mask);
    return count(reinterpret_cast<const unsigned char*>(&v4->sin_addr), 4);
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(mask);
  return count(v6->sin6_addr.s6_addr, 16);
}

std::optional<IpAddress> address_of(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* bytes = nullptr;
  if (address->sa_family == AF_INET) {
    bytes = &reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
  } else if (address->sa_family == AF_INET6) {
    bytes = &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  }
  if (bytes == nullptr ||
      ::inet_ntop(address->sa_family, bytes, text.data(), text.size()) == nullptr) {
    return std::nullopt;
  }
  return parse_ip(text.data());
}

/// Whether a running machine lives in the namespace. One that does not can have a card of no
/// network, but throws Error{rejected} for any other.
bool takes_part(pid_t machine, const PlannedNetwork* network) {
  if (Namespace::is_elsewhere(machine)) return true;
  if (network == nullptr) return false;
  throw Error{Errc::rejected, "the VM was started before there were networks: stop and start it"};
}

bool has_firewall(const std::string& option) {
  return Properties{option}.get("firewall") == "1";
}

std::map<std::string, std::string> nic_options(const Options& options) {
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : options) {
    if (is_nic_option(name)) out.emplace(name, value);
  }
  return out;
}

/// Throws Error{rejected} with what a tool said when it failed.
void check(const ToolResult& done, const std::string& what) {
  if (done.exit_code == 0) return;
  auto text = fmt::format("{}: {}", what, done.errors);
  while (text.ends_with('\n')) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  throw Error{Errc::rejected, text};
}

}  // namespace

std::vector<std::string> networks_of_host() {
  std::set<std::string> out{"127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4",
                            "::1/128",     "fe80::/10",      "ff00::/8"};
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) {
    throw Error{Errc::internal,
                fmt::format("can't list the host's addresses: {}", std::strerror(errno))};
  }
  for (const auto* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_netmask == nullptr) continue;
    const auto address = address_of(entry->ifa_addr);
    if (!address) continue;
    const Cidr cidr{*address, prefix_of(entry->ifa_netmask)};
    out.insert(Cidr{cidr.network(), cidr.prefix}.print());
  }
  ::freeifaddrs(list);
  return {out.begin(), out.end()};
}

Networks::Networks(Sdn& sdn, const Firewall& firewall, asio::thread_pool& pool,
                   std::filesystem::path directory, const std::vector<RunningMachine>& machines)
    : sdn_{sdn}, firewall_{firewall}, pool_{pool}, directory_{std::move(directory)} {
  for (const auto& machine : machines) {
    machines_.push_back(machine.pid);
    nics_[machine.vmid] = nic_options(machine.options);
  }
  std::filesystem::remove_all(directory_);
  std::filesystem::create_directories(directory_);
}

Networks::~Networks() {
  space_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

awaitable<void> Networks::apply() {
  const auto wanted = planned_networks(sdn_.running(), sdn_.node());
  const auto permit = co_await turn_.acquire();
  co_await run_in_pool(pool_, [this, wanted, ipam = sdn_.ipam(), filters = all_filters()] {
    try {
      build(wanted, ipam, filters);
      failure_.clear();
    } catch (const Error& error) {
      failure_ = error.said;
      throw;
    }
  });
}

std::string Networks::problem(const std::string& vnet) const {
  if (!failure_.empty()) return failure_;
  if (networks_.contains(vnet)) return {};
  return "vnet is not generated. Please check the 'reload network' task log.";
}

void Networks::build(const Planned& wanted, const Ipam& ipam, const CardFilters& filters) {
  if (!space_ && wanted.empty()) return;
  if (!space_) open_space(filters);
  // What is closed is closed before there is something to reach.
  uplink_.closed = networks_of_host();
  load_rules(firewall_rules(wanted, uplink_));
  change_links(bridge_changes(links(), wanted));
  const auto served = served_;
  for (const auto& [name, config] : served) {
    if (!wanted.contains(name)) stop_serving(name);
  }
  networks_ = wanted;
  for (const auto& [name, network] : wanted) serve(network, ipam);
}

void Networks::open_space(const CardFilters& filters) {
  check_tun();
  const auto member = std::find_if(machines_.begin(), machines_.end(), Namespace::is_elsewhere);
  auto space = member == machines_.end() ? Namespace::make() : Namespace::join(*member);
  space_.emplace(std::move(space));
  try {
    set_up_space(filters);
  } catch (...) {
    space_.reset();
    throw;
  }
}

void Networks::set_up_space(const CardFilters& filters) {
  // Nothing may pass before the rules are there.
  load_rules(firewall_rules({}, uplink_));
  filters_.begin(filters, load_);
  run({"ip", "link", "set", "dev", "lo", "up"});
  run({"sh", "-c",
       "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"});
  find_uplink();
}

void Networks::find_uplink() {
  uplink_ = {};
  // The program stays outside, in the host's network, and holds only its end of the tap; it ends
  // with the holder. Its default would let guests reach the host's loopback (guest-facts section
  // 5).
  const auto script = fmt::format(
      "command -v slirp4netns >/dev/null || exit 3; "
      "slirp4netns --configure --mtu=65520 --disable-host-loopback --cidr={} --ready-fd=3 "
      "--netns-type=path /proc/{}/ns/net {} 3>&1 >/dev/null 2>{}/uplink.log </dev/null &",
      uplink_range, space_->holder(), uplink_name, directory_.string());
  if (links().contains(std::string{uplink_name}))
    run({"ip", "link", "del", "dev", std::string{uplink_name}});
  auto inside = space_->for_helpers();
  inside.net = -1;
  run_tool(Namespace::as_member({"sh", "-c", script}), inside);
  if (!links().contains(std::string{uplink_name})) {
    log::warn("VNets with SNAT have no way out: slirp4netns is not installed or failed");
    return;
  }
  // Router advertisements and a link-local address of the uplink are nobody's business.
  run({"ip", "link", "set", "dev", std::string{uplink_name}, "addrgenmode", "none"});
  uplink_.interface = uplink_name;
  uplink_.resolver = uplink_resolver;
}

std::map<std::string, Link> Networks::links() const {
  const auto shown = run_tool({"ip", "-j", "-d", "addr", "show"}, space_->for_helpers());
  if (shown.exit_code != 0) throw Error{Errc::internal, "ip addr: " + shown.errors};
  return parse_links(shown.output);
}

void Networks::run(const std::vector<std::string>& argv) const {
  check(run_tool(argv, space_->for_helpers()), fmt::format("{}", fmt::join(argv, " ")));
}

void Networks::change_links(const std::string& lines) const {
  if (lines.empty()) return;
  const auto batch = directory_ / "ip.batch";
  write_file(batch, lines);
  run({"ip", "-batch", batch.string()});
}

void Networks::load_rules(const std::string& rules) const {
  const auto file = directory_ / "nft.rules";
  write_file(file, rules);
  run({"nft", "-f", file.string()});
}

CardFilters Networks::filters_of(int vmid) const {
  CardFilters out;
  const auto nics = nics_.find(vmid);
  if (nics == nics_.end()) return out;
  const auto& datacenter = firewall_.datacenter();
  const auto& own = firewall_.of_vm(vmid);
  const bool is_on = is_filtering(datacenter, own);
  for (const auto& [nic, option] : nics->second) {
    const FilteredCard card{tap_name(vmid, nic), nic, NicPlace::parse(option).mac};
    out[card.tap] = is_on && has_firewall(option) ? card_filter(card, datacenter, own) : "";
  }
  return out;
}

CardFilters Networks::all_filters() const {
  CardFilters out;
  for (const auto& [vmid, nics] : nics_) out.merge(filters_of(vmid));
  return out;
}

void Networks::stop_serving(const std::string& name) {
  const auto pid_file = directory_ / (name + ".pid");
  pid_t inner = 0;
  std::ifstream{pid_file} >> inner;
  if (inner > 1) space_->kill(inner);
  std::error_code ignored;
  std::filesystem::remove(pid_file, ignored);
  served_.erase(name);
}

/// A server with other reservations is started anew: it forgets the leases, which else would keep
/// an address from its new owner; guests that go on renew theirs.
void Networks::serve(const PlannedNetwork& network, const Ipam& ipam) {
  const auto config = dhcp_config(network, ipam, uplink_, directory_ / (network.name + ".pid"));
  const auto now = served_.find(network.name);
  if (now == served_.end() ? config.empty() : now->second == config) return;
  if (now != served_.end()) stop_serving(network.name);
  if (config.empty()) return;
  const auto file = directory_ / (network.name + ".conf");
  write_file(file, config);
  // It goes into the background when its sockets are open, and says so by its exit code.
  check(run_tool(Namespace::as_member({"dnsmasq", "--conf-file=" + file.string()}),
                 space_->for_helpers()),
        fmt::format("DHCP server of {}", network.name));
  served_[network.name] = config;
}

const PlannedNetwork* Networks::network_of(const NicPlace& place) const {
  if (place.bridge == default_bridge) return nullptr;
  const auto network = networks_.find(place.bridge);
  if (network != networks_.end()) return &network->second;
  throw Error{Errc::rejected,
              fmt::format("bridge '{}' is not there: {}", place.bridge, problem(place.bridge))};
}

void Networks::make_tap(int vmid, const std::string& nic, const NicPlace& place, const Ipam& ipam) {
  const auto tap = tap_name(vmid, nic);
  const auto* network = network_of(place);
  const auto old = links().contains(tap) ? fmt::format("link del dev {}\n", tap) : "";
  change_links(old + tap_lines(tap, network));
  if (network != nullptr) serve(*network, ipam);
}

awaitable<void> Networks::attach(int vmid, MachineSetup& setup) {
  const auto permit = co_await turn_.acquire();
  nics_[vmid] = nic_options(setup.options);
  co_await run_in_pool(pool_, [this, vmid, nics = nics_.at(vmid), filters = filters_of(vmid),
                               ipam = sdn_.ipam(), &setup] {
    if (space_) filters_.renew(filters, load_);
    for (const auto& [name, option] : nics) {
      const auto place = NicPlace::parse(option);
      if (!space_) network_of(place);
      if (!space_) continue;
      make_tap(vmid, name, place, ipam);
      setup.taps[name] = tap_name(vmid, name);
    }
    if (space_) setup.inside = space_->for_machines();
  });
}

awaitable<void> Networks::plug(int vmid, pid_t machine, std::string nic, MachineSetup& setup) {
  const auto permit = co_await turn_.acquire();
  const auto option = setup.options.at(nic);
  nics_[vmid][nic] = option;
  auto filters = filters_of(vmid);
  co_await run_in_pool(
      pool_, [this, vmid, machine, nic, place = NicPlace::parse(option),
              filter = filters.extract(tap_name(vmid, nic)).mapped(), ipam = sdn_.ipam(), &setup] {
        if (!takes_part(machine, network_of(place))) return;
        filters_.renew({{tap_name(vmid, nic), filter}}, load_);
        make_tap(vmid, nic, place, ipam);
        setup.taps[nic] = tap_name(vmid, nic);
      });
}

awaitable<void> Networks::unplug(int vmid, std::string nic) {
  const auto permit = co_await turn_.acquire();
  nics_[vmid].erase(nic);
  co_await run_in_pool(pool_, [this, tap = tap_name(vmid, nic)] { remove_taps({tap}); });
}

awaitable<void> Networks::move(int vmid, pid_t machine, std::string nic, std::string option) {
  const auto permit = co_await turn_.acquire();
  nics_[vmid][nic] = option;
  co_await run_in_pool(pool_,
                       [this, machine, tap = tap_name(vmid, nic), place = NicPlace::parse(option),
                        filters = filters_of(vmid), ipam = sdn_.ipam()] {
                         const auto* network = network_of(place);
                         if (!takes_part(machine, network)) return;
                         filters_.set(filters, load_);
                         change_links(move_lines(tap, network));
                         if (network != nullptr) serve(*network, ipam);
                       });
}

awaitable<void> Networks::filter(std::optional<int> vmid) {
  const auto permit = co_await turn_.acquire();
  co_await run_in_pool(pool_, [this, filters = vmid ? filters_of(*vmid) : all_filters()] {
    if (space_) filters_.set(filters, load_);
  });
}

awaitable<void> Networks::forget(int vmid) {
  const auto permit = co_await turn_.acquire();
  std::vector<std::string> taps;
  for (const auto& [nic, option] : nics_[vmid]) taps.push_back(tap_name(vmid, nic));
  nics_.erase(vmid);
  co_await run_in_pool(pool_, [this, taps = std::move(taps)] { remove_taps(taps); });
}

/// The taps first: without its filter a tap is open.
void Networks::remove_taps(const std::vector<std::string>& taps) {
  if (!space_ || taps.empty()) return;
  std::string lines;
  const auto present = links();
  CardFilters none;
  for (const auto& tap : taps) {
    if (present.contains(tap)) lines += fmt::format("link del dev {}\n", tap);
    none[tap] = "";
  }
  change_links(lines);
  filters_.set(none, load_);
}

}  // namespace px::node
