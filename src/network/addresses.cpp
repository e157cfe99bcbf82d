#include "network/addresses.hpp"

#include "pve/sdn.hpp"
#include "support/error.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::network {

using namespace std::chrono_literals;
using pve::agent::Interface;

namespace {

constexpr auto patience_with_the_rest = 3s;

/// False for what every interface has of its own accord.
bool counts(const std::string& text) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(text, error);
  if (error || address.is_loopback()) return false;
  if (address.is_v6()) return !address.to_v6().is_link_local();
  return !text.starts_with("169.254.");
}

std::vector<std::string> addresses_of(const FittedCard& card, const std::vector<Interface>& seen) {
  std::vector<std::string> out;
  for (const auto& interface : seen) {
    if (interface.mac != card.mac) continue;
    std::ranges::copy_if(interface.addresses, std::back_inserter(out), counts);
  }
  return out;
}

bool has(const std::vector<std::string>& addresses, const Address& wanted) {
  return std::ranges::find(addresses, wanted.to_string()) != addresses.end();
}

std::string text_of(const std::vector<Interface>& seen) {
  std::vector<std::string> out;
  for (const auto& interface : seen) {
    if (interface.name == "lo") continue;
    out.push_back(fmt::format("{} ({}) with {}", interface.name, interface.mac,
                              interface.addresses.empty()
                                  ? "no address"
                                  : fmt::format("{}", fmt::join(interface.addresses, ", "))));
  }
  return out.empty() ? "no network card" : fmt::format("{}", fmt::join(out, "; "));
}

awaitable<Addresses> booked(pve::Client& client, const std::vector<FittedCard>& cards) {
  Addresses out;
  const auto bookings = co_await pve::sdn::bookings(client);
  for (const auto& card : cards) {
    for (const auto& booking : bookings) {
      if (booking.vnet == card.vnet && booking.mac == card.mac) {
        out[card.label].push_back(booking.ip);
      }
    }
  }
  co_return out;
}

/// A guest whose agent is busy answers a moment later.
bool may_pass(const Error& error) {
  return error.kind == Errc::agent_down || error.sent == Sent::maybe;
}

}  // namespace

AddressWait::Up AddressWait::state(const std::vector<Interface>& seen) const {
  std::size_t with_dhcp = 0;
  std::size_t with_address = 0;
  for (const auto& card : cards_) {
    const auto addresses = addresses_of(card, seen);
    if (card.fixed && !has(addresses, *card.fixed)) return Up::no;
    if (!card.has_dhcp) continue;
    ++with_dhcp;
    if (!addresses.empty()) ++with_address;
  }
  if (with_address == with_dhcp) return Up::wholly;
  return with_address > 0 ? Up::partly : Up::no;
}

Addresses AddressWait::addresses(const std::vector<Interface>& seen) const {
  Addresses out;
  for (const auto& card : cards_) {
    auto& list = out[card.label];
    for (auto& address : addresses_of(card, seen)) list.push_back(std::move(address));
  }
  return out;
}

std::string AddressWait::missing(const std::vector<Interface>& seen) const {
  std::vector<std::string> wanted;
  for (const auto& card : cards_) {
    const auto addresses = addresses_of(card, seen);
    if (card.fixed && !has(addresses, *card.fixed)) {
      wanted.push_back(
          fmt::format("{} ({}) should have {}", card.label, card.mac, card.fixed->to_string()));
    } else if (card.has_dhcp && addresses.empty()) {
      wanted.push_back(fmt::format("{} ({}) should have one by DHCP", card.label, card.mac));
    }
  }
  return fmt::format("{}; the guest shows {}", fmt::join(wanted, ", "), text_of(seen));
}

awaitable<Addresses> wait_for_addresses(pve::Client& client, pve::VmRef vm,
                                        std::vector<FittedCard> cards, std::string text,
                                        Deadline limit) {
  const AddressWait wait{cards};
  std::optional<SteadyTime> partly_since;
  for (auto pause = 100ms;; pause = std::min(pause * 3 / 2, 1000ms)) {
    std::optional<Error> failure;
    std::vector<Interface> seen;
    try {
      seen = co_await pve::agent::interfaces(client, vm);
    } catch (const Error& error) {
      failure = error;
    }
    if (failure && (failure->kind == Errc::unsupported || failure->kind == Errc::forbidden)) {
      log::debug("{}: the guest's agent does not tell its addresses: {}", text, failure->said);
      co_return co_await booked(client, cards);
    }
    if (failure && !may_pass(*failure)) throw *failure;
    const auto now = std::chrono::steady_clock::now();
    const auto state = failure ? AddressWait::Up::no : wait.state(seen);
    if (state == AddressWait::Up::partly && !partly_since) partly_since = now;
    const bool long_enough = partly_since && now - *partly_since > patience_with_the_rest;
    if (state == AddressWait::Up::wholly || (state == AddressWait::Up::partly && long_enough)) {
      co_return wait.addresses(seen);
    }
    if (limit.passed(now)) {
      throw Error{Errc::unavailable, fmt::format("{} did not get its address in time: {}", text,
                                                 failure ? failure->said : wait.missing(seen))}
          .with_hint(
              "Does the guest use DHCP on its cards? On the server, systemctl status "
              "dnsmasq@ZONE and ip link show VNET tell whether the network is up");
    }
    co_await sleep_for(pause);
  }
}

}  // namespace px::network
