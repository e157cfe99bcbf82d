#include "node/firewall/firewall_routes.hpp"

#include "node/firewall/firewall_lists.hpp"
#include "node/firewall/firewall_rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

namespace px::node {

namespace {

const Param digest_param{.name = "digest", .max_length = 64};
const Param delete_param{.name = "delete"};
const Param comment_param{.name = "comment"};
const std::vector<std::string> log_levels{"emerg",  "alert", "crit",  "err",  "warning",
                                          "notice", "info",  "debug", "nolog"};
const std::vector<std::string> policies{"ACCEPT", "REJECT", "DROP"};

const std::string datacenter_base = "/cluster/firewall";
const std::string node_base = "/nodes/{node}/firewall";
const std::string vm_base = "/nodes/{node}/qemu/{vmid}/firewall";
const std::string vnet_base = "/cluster/sdn/vnets/{vnet}/firewall";
const std::string group_base = "/cluster/firewall/groups/{group}";

Param flag(std::string name) {
  return {.name = std::move(name), .type = ParamType::boolean};
}

Param log_level(std::string name) {
  return {.name = std::move(name), .one_of = log_levels};
}

std::vector<Param> datacenter_options() {
  return {{.name = "enable", .type = ParamType::integer, .minimum = 0},
          flag("ebtables"),
          {.name = "policy_in", .one_of = policies},
          {.name = "policy_out", .one_of = policies},
          {.name = "policy_forward", .one_of = {"ACCEPT", "DROP"}},
          {.name = "log_ratelimit"}};
}

std::vector<Param> node_options() {
  using enum ParamType;
  std::vector<Param> out{
      {.name = "nf_conntrack_max", .type = integer, .minimum = 32768},
      {.name = "nf_conntrack_tcp_timeout_established", .type = integer, .minimum = 7875},
      {.name = "nf_conntrack_tcp_timeout_syn_recv", .type = integer, .minimum = 30, .maximum = 60},
      {.name = "nf_conntrack_helpers"},
      {.name = "protection_synflood_burst", .type = integer},
      {.name = "protection_synflood_rate", .type = integer}};
  for (const auto* name : {"enable", "nftables", "ndp", "nosmurfs", "tcpflags", "log_nf_conntrack",
                           "nf_conntrack_allow_invalid", "protection_synflood"}) {
    out.push_back(flag(name));
  }
  for (const auto* name : {"log_level_in", "log_level_out", "log_level_forward", "smurf_log_level",
                           "tcp_flags_log_level"}) {
    out.push_back(log_level(name));
  }
  return out;
}

std::vector<Param> vm_options() {
  std::vector<Param> out{{.name = "policy_in", .one_of = policies},
                         {.name = "policy_out", .one_of = policies}};
  for (const auto* name : {"enable", "dhcp", "ndp", "radv", "macfilter", "ipfilter"}) {
    out.push_back(flag(name));
  }
  for (const auto* name : {"log_level_in", "log_level_out"}) out.push_back(log_level(name));
  return out;
}

std::vector<Param> vnet_options() {
  return {flag("enable"),
          {.name = "policy_forward", .one_of = {"ACCEPT", "DROP"}},
          log_level("log_level_forward")};
}

std::vector<Param> all_of(std::vector<Param> own, const std::vector<Param>& more) {
  own.insert(own.end(), more.begin(), more.end());
  return own;
}

/// The options that this call can set: it is asked for by the path that it came to.
std::vector<Param> options_at(const Call& call) {
  if (call.has("vmid")) return vm_options();
  if (call.has("vnet")) return vnet_options();
  return call.has("node") ? node_options() : datacenter_options();
}

void rename_group(FirewallFile& file, const std::string& old, const std::string& name) {
  for (auto& rule : file.rules) {
    if (json::text_at(rule, "type") == "group" && json::text_at(rule, "action") == old) {
      rule["action"] = name;
    }
  }
}

template <class File>
auto& group_at(File& datacenter, const std::string& name) {
  const auto group = datacenter.groups.find(name);
  if (group == datacenter.groups.end()) {
    throw ApiError{500, fmt::format("no such security group '{}'\n", name)};
  }
  return group->second;
}

std::size_t position_in(const FirewallRules& rules, const Call& call) {
  const auto position = static_cast<std::size_t>(call.number("pos"));
  if (position < rules.size()) return position;
  throw ApiError{500, fmt::format("no rule at position {}\n", position)};
}

void move_rule(FirewallRules& rules, std::size_t from, std::size_t to) {
  auto rule = std::move(rules[from]);
  rules.erase(rules.begin() + static_cast<std::ptrdiff_t>(from));
  // `to` counts the rules as they stood.
  if (to > from) --to;
  to = std::min(to, rules.size());
  rules.insert(rules.begin() + static_cast<std::ptrdiff_t>(to), std::move(rule));
}

}  // namespace

/// Whose file a call is about, and where in it rules stand.
struct FirewallRoutes::Place {
  std::string file;
  RulePlace rules = RulePlace::vm;
  std::string group;

  FirewallRules& rules_in(FirewallFile& content) const {
    return rules == RulePlace::group ? group_at(content, group).rules : content.rules;
  }
};

void FirewallRoutes::add(Router& router, std::string method, std::string path,
                         std::vector<Param> params, Handler handler) {
  const bool changes = method != "GET";
  router.add({.method = std::move(method),
              .path = std::move(path),
              .params = std::move(params),
              .handler = [self = shared_from_this(),
                          handler](Call& call) { return ((*self).*handler)(call); },
              .is_protected = changes});
}

void FirewallRoutes::add_routes(Router& router) {
  add_options(router, datacenter_base, datacenter_options());
  add_options(router, node_base, node_options());
  add_options(router, vm_base, vm_options());
  add_options(router, vnet_base, vnet_options());
  add_rules(router, vm_base + "/rules");
  add_rules(router, vnet_base + "/rules");
  add_groups(router);
}

void FirewallRoutes::add_options(Router& router, const std::string& base,
                                 std::vector<Param> properties) {
  add(router, "GET", base + "/options", {}, &FirewallRoutes::options);
  add(router, "PUT", base + "/options", all_of({delete_param, digest_param}, properties),
      &FirewallRoutes::set_options);
}

void FirewallRoutes::add_rules(Router& router, const std::string& base) {
  using enum ParamType;
  auto create =
      all_of({digest_param, {.name = "pos", .type = integer, .minimum = 0}}, rule_properties());
  for (auto& param : create) param.required = param.name == "type" || param.name == "action";
  add(router, "GET", base, {}, &FirewallRoutes::rules);
  add(router, "POST", base, create, &FirewallRoutes::add_rule);
  add(router, "GET", base + "/{pos}", {}, &FirewallRoutes::rule);
  add(router, "PUT", base + "/{pos}",
      all_of({delete_param, digest_param, {.name = "moveto", .type = integer, .minimum = 0}},
             rule_properties()),
      &FirewallRoutes::change_rule);
  add(router, "DELETE", base + "/{pos}", {digest_param}, &FirewallRoutes::remove_rule);
}

void FirewallRoutes::add_groups(Router& router) {
  const std::string base = datacenter_base + "/groups";
  add(router, "GET", base, {}, &FirewallRoutes::groups);
  add(router, "POST", base,
      {firewall_name("group", 18, true), firewall_name("rename", 18, false), comment_param,
       digest_param},
      &FirewallRoutes::make_group);
  add(router, "DELETE", group_base, {}, &FirewallRoutes::remove_group);
  add_rules(router, group_base);
}

FirewallRoutes::Place FirewallRoutes::place_of(const Call& call) const {
  if (call.has("vmid")) {
    return {Firewall::vm_name(static_cast<int>(call.number("vmid"))), RulePlace::vm, {}};
  }
  if (call.has("vnet")) {
    // (API2/Firewall/Helpers.pm, check_vnet_access)
    if (!sdn_.running().vnets.contains(call.text("vnet"))) {
      throw ApiError{500, "invalid vnet specified"};
    }
    return {Firewall::vnet_name(call.text("vnet")), RulePlace::vnet, {}};
  }
  if (call.has("node")) return {Firewall::node_name(), RulePlace::vm, {}};
  return {Firewall::datacenter_name(), RulePlace::group, call.text_or("group", "")};
}

const FirewallRules& FirewallRoutes::rules_at(const Place& place) const {
  const auto& file = firewall_.file(place.file);
  return place.rules == RulePlace::group ? group_at(file, place.group).rules : file.rules;
}

awaitable<void> FirewallRoutes::change(Call& call, std::function<void(FirewallFile&)> change) {
  const auto place = place_of(call);
  firewall_.change(place.file, change);
  if (place.rules == RulePlace::vnet || place.file == Firewall::node_name()) co_return;
  std::optional<int> vmid;
  if (call.has("vmid")) vmid = static_cast<int>(call.number("vmid"));
  co_await networks_.filter(vmid);
}

awaitable<json::value> FirewallRoutes::options(Call& call) {
  auto out = firewall_.file(place_of(call).file).options;
  out["digest"] = firewall_digest(firewall_.file(place_of(call).file).options);
  co_return out;
}

awaitable<json::value> FirewallRoutes::set_options(Call& call) {
  const auto properties = options_at(call);
  co_await change(call, [&](FirewallFile& file) {
    check_digest(call, file.options);
    for (const auto& name : call.words("delete")) {
      const bool known = std::any_of(properties.begin(), properties.end(),
                                     [&](const Param& param) { return param.name == name; });
      if (!known) throw ApiError::parameter("delete", fmt::format("no such option '{}'", name));
      file.options.erase(name);
    }
    for (const auto& [name, value] : object_of(call, properties)) file.options[name] = value;
    // More than 1 becomes the time, in seconds since 1970 (API2/Firewall/Cluster.pm).
    if (!call.has("vmid") && json::number_or(file.options, "enable", 0) > 1) {
      file.options["enable"] =
          std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    }
  });
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::rules(Call& call) {
  auto out = with_digest(rules_at(place_of(call)));
  std::int64_t position = 0;
  for (auto& entry : out) entry.as_object()["pos"] = position++;
  co_return out;
}

awaitable<json::value> FirewallRoutes::rule(Call& call) {
  const auto& rules = rules_at(place_of(call));
  auto out = with_digest(rules)[position_in(rules, call)].as_object();
  out["pos"] = call.text("pos");  // a text here, a number in the list
  co_return out;
}

awaitable<json::value> FirewallRoutes::add_rule(Call& call) {
  const auto place = place_of(call);
  co_await change(call, [&](FirewallFile& file) {
    auto& rules = place.rules_in(file);
    json::object rule;
    set_rule_properties(rule, call);
    check_rule(rule, place.rules, firewall_.datacenter(),
               place.rules == RulePlace::group ? nullptr : &file);
    rule.emplace("enable", 0);
    rules.insert(rules.begin(), std::move(rule));
  });
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::change_rule(Call& call) {
  const auto place = place_of(call);
  co_await change(call, [&](FirewallFile& file) {
    auto& rules = place.rules_in(file);
    check_digest(call, rules);
    const auto position = position_in(rules, call);
    const auto target =
        static_cast<std::size_t>(call.number_or("moveto", static_cast<std::int64_t>(position)));
    if (target != position) return move_rule(rules, position, target);
    set_rule_properties(rules[position], call);
    remove_rule_properties(rules[position], call.words("delete"));
    check_rule(rules[position], place.rules, firewall_.datacenter(),
               place.rules == RulePlace::group ? nullptr : &file);
  });
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::remove_rule(Call& call) {
  const auto place = place_of(call);
  co_await change(call, [&](FirewallFile& file) {
    auto& rules = place.rules_in(file);
    check_digest(call, rules);
    rules.erase(rules.begin() + static_cast<std::ptrdiff_t>(position_in(rules, call)));
  });
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::groups(Call& /*call*/) {
  co_return with_digest(names_of(firewall_.datacenter().groups, "group"));
}

awaitable<json::value> FirewallRoutes::make_group(Call& call) {
  const auto& name = call.text("group");
  firewall_.change(Firewall::datacenter_name(), [&](FirewallFile& file) {
    make_or_rename(file.groups, call, "group", "Security group");
  });
  const auto old = call.text_or("rename", name);
  if (old != name) {
    for (const auto& user : firewall_.names()) {
      firewall_.change(user, [&](FirewallFile& file) { rename_group(file, old, name); });
    }
  }
  co_await networks_.filter(std::nullopt);
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::remove_group(Call& call) {
  co_await change(call, [&](FirewallFile& file) {
    const auto& name = call.text("group");
    if (!group_at(file, name).rules.empty()) {
      throw ApiError{500, fmt::format("Security group '{}' is not empty\n", name)};
    }
    file.groups.erase(name);
  });
  co_return nullptr;
}

}  // namespace px::node
