#include "network/native_options.hpp"

#include "pve/native_options.hpp"
#include "pve/params.hpp"
#include "pve/sdn.hpp"
#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace px::network {

namespace {

struct TakenOption {
  NativeKind kind;
  std::string_view option;
  std::string_view instead;
};

constexpr std::array taken_options{
    TakenOption{NativeKind::zone, "zone", "the provider names it"},
    TakenOption{NativeKind::zone, "type", "samples' zones are simple ones"},
    TakenOption{NativeKind::zone, "ipam", "use use_pve_ipam_dnsnmasq"},
    TakenOption{NativeKind::zone, "dhcp", "use use_pve_ipam_dnsnmasq"},
    TakenOption{NativeKind::vnet, "vnet", "the provider names it"},
    TakenOption{NativeKind::vnet, "zone", "the provider names it"},
    TakenOption{NativeKind::vnet, "type", "it is no option of a VNet"},
    TakenOption{NativeKind::vnet, "alias", "use alias; the provider marks its VNets by it"},
    TakenOption{NativeKind::subnet, "subnet", "use cidr"},
    TakenOption{NativeKind::subnet, "vnet", "the provider names it"},
    TakenOption{NativeKind::subnet, "type", "it is no option of a subnet"},
    TakenOption{NativeKind::subnet, "gateway", "use gateway"},
    TakenOption{NativeKind::subnet, "snat", "use snat"},
    TakenOption{NativeKind::subnet, "dhcp-range", "use dhcp_ranges"},
};
/// Of the requests, not of what they write.
constexpr std::array<std::string_view, 4> of_requests{"lock-token", "delete", "digest",
                                                      "release-lock"};

std::string_view instead_of_option(NativeKind kind, std::string_view option) {
  if (std::ranges::find(of_requests, option) != of_requests.end()) {
    return "it is no option of a network";
  }
  const auto found = std::ranges::find_if(taken_options, [&](const TakenOption& taken) {
    return taken.kind == kind && taken.option == option;
  });
  return found == taken_options.end() ? std::string_view{} : found->instead;
}

/// A change of something that isn't there: the server checks the form of all parameters first
/// (pve-facts section 2).
awaitable<void> check_by_server(pve::Client& client, std::string path, std::string field,
                                NativeOptions options) {
  if (options.empty()) co_return;
  std::optional<Error> refusal;
  try {
    co_await client.put(std::move(path), pve::Params{}.add_all(options));
  } catch (const Error& error) {
    if (error.kind == Errc::rejected) {
      refusal = error;
    } else if (error.sent != Sent::answered || error.kind == Errc::forbidden) {
      throw;
    }
  }
  if (refusal) pve::throw_refused(field, options, *refusal);
}

/// A name that none of ours and none of the existing provider's has.
constexpr std::string_view nobody = "pxnobody";

}  // namespace

NativeOptions parse_native_options(NativeKind kind, const std::string& field,
                                   const boost::json::object& options) {
  NativeOptions out;
  for (const auto& [option, value] : options) {
    const std::string name{option};
    const auto text = pve::option_text(pve::field_of_native_option(field, name), value);
    const auto instead = instead_of_option(kind, name);
    if (!instead.empty()) throw_bad_input(pve::field_of_native_option(field, name), text, instead);
    out.emplace_back(name, text);
  }
  std::ranges::sort(out);
  return out;
}

awaitable<void> check_network_options(pve::Client& client, Plan plan) {
  co_await check_by_server(client, fmt::format("/cluster/sdn/zones/{}", nobody), "sdn_config",
                           plan.zone_options);
  for (std::size_t i = 0; i < plan.vnets.size(); ++i) {
    const auto field = fmt::format("sdn_config.vnet_configs[{}]", i);
    const auto path = fmt::format("/cluster/sdn/vnets/{}", nobody);
    co_await check_by_server(client, path, field, plan.vnets[i].options);
    for (std::size_t j = 0; j < plan.vnets[i].subnets.size(); ++j) {
      co_await check_by_server(client, fmt::format("{}/subnets/{}-192.0.2.0-24", path, nobody),
                               fmt::format("{}.subnets[{}]", field, j),
                               plan.vnets[i].subnets[j].options);
    }
  }
}

}  // namespace px::network
