#include "node/firewall/firewall_routes.hpp"

#include "node/firewall/firewall_rules.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

namespace px::node {

namespace {

const Param digest{.name = "digest", .max_length = 64};
const Param removed{.name = "delete"};
const Param comment{.name = "comment"};
const std::vector<std::string> log_levels{"emerg",  "alert", "crit",  "err",  "warning",
                                          "notice", "info",  "debug", "nolog"};
const std::vector<std::string> verdicts{"ACCEPT", "REJECT", "DROP"};

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
          {.name = "policy_in", .one_of = verdicts},
          {.name = "policy_out", .one_of = verdicts},
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
  std::vector<Param> out{{.name = "policy_in", .one_of = verdicts},
                         {.name = "policy_out", .one_of = verdicts}};
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

std::vector<Param> with(std::vector<Param> own, const std::vector<Param>& more) {
  own.insert(own.end(), more.begin(), more.end());
  return own;
}

Param named(std::string name, std::size_t longest, bool required) {
  return {.name = std::move(name),
          .required = required,
          .max_length = longest,
          .pattern = "[A-Za-z][A-Za-z0-9\\-_]+"};
}

/// The options that this call can set: it is asked for by the path that it came to.
std::vector<Param> options_at(const Call& call) {
  if (call.has("vmid")) return vm_options();
  if (call.has("vnet")) return vnet_options();
  return call.has("node") ? node_options() : datacenter_options();
}

template <class Content>
void check_digest(const Call& call, const Content& content) {
  if (!call.has("digest") || call.text("digest") == firewall_digest(content)) return;
  throw ApiError{500, "detected modified configuration - file changed by other user? Try again.\n"};
}

/// A list as it is shown: each entry with the digest of all.
json::array with_digest(const std::vector<json::object>& list) {
  json::array out;
  for (auto entry : list) {
    entry["digest"] = firewall_digest(list);
    out.push_back(std::move(entry));
  }
  return out;
}

template <class Map>
std::vector<json::object> names_of(const Map& map, const char* key) {
  std::vector<json::object> out;
  for (const auto& [name, content] : map) {
    json::object entry{{key, name}};
    if (!content.comment.empty()) entry["comment"] = content.comment;
    out.push_back(std::move(entry));
  }
  return out;
}

std::vector<json::object> list_of(const std::map<std::string, json::object>& aliases) {
  std::vector<json::object> out;
  for (const auto& [name, alias] : aliases) out.push_back(alias);
  return out;
}

void add_comment(json::object& entry, const Call& call) {
  const auto text = call.text_or("comment", "");
  if (!text.empty()) entry["comment"] = text;
}

/// Makes an entry of a map, or with `rename` gives an old one this name and perhaps a comment.
template <class Map>
void make_or_rename(Map& map, const Call& call, const char* key, std::string_view kind) {
  const auto& name = call.text(key);
  const auto refuse = [&](std::string_view which, std::string_view problem) {
    return ApiError::parameter(key, fmt::format("{} '{}' {}", kind, which, problem));
  };
  if (!call.has("rename")) {
    if (map.contains(name)) throw refuse(name, "already exists");
    map[name].comment = call.text_or("comment", "");
    return;
  }
  const auto& old = call.text("rename");
  check_digest(call, names_of(map, key));
  if (!map.contains(old)) throw refuse(old, "does not exist");
  if (map.contains(name) && name != old) throw refuse(name, "does already exist");
  auto content = map.extract(old);
  content.key() = name;
  if (call.has("comment")) content.mapped().comment = call.text("comment");
  map.insert(std::move(content));
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

template <class File>
auto& ipset_at(File& file, const std::string& name) {
  const auto set = file.ipsets.find(name);
  if (set == file.ipsets.end()) throw ApiError{500, fmt::format("no such IPSet '{}'\n", name)};
  return set->second;
}

std::size_t position_in(const FirewallRules& rules, const Call& call) {
  const auto position = static_cast<std::size_t>(call.number("pos"));
  if (position >= rules.size()) throw ApiError{500, fmt::format("no rule at position {}\n", position)};
  return position;
}

void move_rule(FirewallRules& rules, std::size_t from, std::size_t to) {
  auto rule = std::move(rules[from]);
  rules.erase(rules.begin() + static_cast<std::ptrdiff_t>(from));
  // `to` counts the rules as they stood.
  if (to > from) --to;
  to = std::min(to, rules.size());
  rules.insert(rules.begin() + static_cast<std::ptrdiff_t>(to), std::move(rule));
}

json::array references(const FirewallFile& file, const std::string& type, const char* scope) {
  json::array out;
  const auto add = [&](const char* kind, const std::string& name, std::string reference,
                       const std::string& note) {
    json::object entry{{"type", kind}, {"name", name}, {"ref", reference}, {"scope", scope}};
    if (!note.empty()) entry["comment"] = note;
    out.push_back(std::move(entry));
  };
  if (type != "alias") {
    for (const auto& [name, set] : file.ipsets) add("ipset", name, "+" + name, set.comment);
  }
  if (type != "ipset") {
    for (const auto& [name, alias] : file.aliases) {
      add("alias", name, name, json::text_or(alias, "comment"));
    }
  }
  return out;
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
  // Reading one entry of an IP set is protected for no reason to be seen (IPSet.pm, read_ip).
  const bool is_protected = method != "GET" || path.ends_with("/{cidr}");
  router.add({.method = std::move(method),
              .path = std::move(path),
              .params = std::move(params),
              .handler = [self = shared_from_this(),
                          handler](Call& call) { return ((*self).*handler)(call); },
              .is_protected = is_protected});
}

void FirewallRoutes::add_routes(Router& router) {
  add_options(router, datacenter_base, datacenter_options());
  add_options(router, node_base, node_options());
  add_options(router, vm_base, vm_options());
  add_options(router, vnet_base, vnet_options());
  add_rules(router, vm_base + "/rules");
  add_rules(router, vnet_base + "/rules");
  add_groups(router);
  add_vm_sets(router);
}

void FirewallRoutes::add_options(Router& router, const std::string& base,
                                 std::vector<Param> properties) {
  add(router, "GET", base + "/options", {}, &FirewallRoutes::options);
  add(router, "PUT", base + "/options", with({removed, digest}, properties),
      &FirewallRoutes::set_options);
}

void FirewallRoutes::add_rules(Router& router, const std::string& base) {
  using enum ParamType;
  auto create = with({digest, {.name = "pos", .type = integer, .minimum = 0}}, rule_properties());
  for (auto& param : create) param.required = param.name == "type" || param.name == "action";
  add(router, "GET", base, {}, &FirewallRoutes::rules);
  add(router, "POST", base, create, &FirewallRoutes::add_rule);
  add(router, "GET", base + "/{pos}", {}, &FirewallRoutes::rule);
  add(router, "PUT", base + "/{pos}",
      with({removed, digest, {.name = "moveto", .type = integer, .minimum = 0}}, rule_properties()),
      &FirewallRoutes::change_rule);
  add(router, "DELETE", base + "/{pos}", {digest}, &FirewallRoutes::remove_rule);
}

void FirewallRoutes::add_groups(Router& router) {
  const std::string base = datacenter_base + "/groups";
  add(router, "GET", base, {}, &FirewallRoutes::groups);
  add(router, "POST", base,
      {named("group", 18, true), named("rename", 18, false), comment, digest},
      &FirewallRoutes::make_group);
  add(router, "DELETE", group_base, {}, &FirewallRoutes::remove_group);
  add_rules(router, group_base);
  add(router, "GET", datacenter_base + "/refs", {{.name = "type", .one_of = {"alias", "ipset"}}},
      &FirewallRoutes::refs);
}

void FirewallRoutes::add_vm_sets(Router& router) {
  const std::string ipsets = vm_base + "/ipset";
  const std::string aliases = vm_base + "/aliases";
  const Param entry{.name = "cidr", .required = true, .format = "IPorCIDRorAlias"};
  add(router, "GET", vm_base, {}, &FirewallRoutes::vm_index);
  add(router, "GET", vm_base + "/refs", {{.name = "type", .one_of = {"alias", "ipset"}}},
      &FirewallRoutes::refs);
  add(router, "GET", ipsets, {}, &FirewallRoutes::ipsets);
  add(router, "POST", ipsets, {named("name", 64, true), named("rename", 64, false), comment, digest},
      &FirewallRoutes::make_ipset);
  add(router, "GET", ipsets + "/{name}", {}, &FirewallRoutes::ipset);
  add(router, "POST", ipsets + "/{name}", {entry, comment, flag("nomatch")},
      &FirewallRoutes::add_address);
  add(router, "DELETE", ipsets + "/{name}", {flag("force")}, &FirewallRoutes::remove_ipset);
  add(router, "GET", ipsets + "/{name}/{cidr}", {}, &FirewallRoutes::address);
  add(router, "DELETE", ipsets + "/{name}/{cidr}", {digest}, &FirewallRoutes::remove_address);
  add(router, "GET", aliases, {}, &FirewallRoutes::aliases);
  add(router, "POST", aliases,
      {named("name", 64, true), {.name = "cidr", .required = true, .format = "IPorCIDR"}, comment},
      &FirewallRoutes::make_alias);
  add(router, "GET", aliases + "/{name}", {}, &FirewallRoutes::alias);
  add(router, "DELETE", aliases + "/{name}", {digest}, &FirewallRoutes::remove_alias);
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
    // The datacenter's can be a moment: on for good only when it is confirmed in time.
    if (!call.has("vmid") && json::number_or(file.options, "enable", 0) > 1) {
      file.options["enable"] =
          std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    }
  });
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::rules(Call& call) {
  auto out = with_digest(rules_at(place_of(call)));
  for (std::size_t i = 0; i < out.size(); ++i) out[i].as_object()["pos"] = i;
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
    const auto target = static_cast<std::size_t>(
        call.number_or("moveto", static_cast<std::int64_t>(position)));
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

awaitable<json::value> FirewallRoutes::refs(Call& call) {
  const auto type = call.text_or("type", "");
  auto out = references(firewall_.datacenter(), type, "dc");
  if (!call.has("vmid")) co_return out;
  for (auto& own : references(firewall_.file(place_of(call).file), type, "guest")) {
    out.push_back(std::move(own));
  }
  co_return out;
}

awaitable<json::value> FirewallRoutes::vm_index(Call& /*call*/) {
  json::array out;
  for (const auto* name : {"rules", "aliases", "ipset", "refs", "options"}) {
    out.push_back(json::object{{"name", name}});
  }
  co_return out;
}

awaitable<json::value> FirewallRoutes::ipsets(Call& call) {
  co_return with_digest(names_of(firewall_.file(place_of(call).file).ipsets, "name"));
}

awaitable<json::value> FirewallRoutes::make_ipset(Call& call) {
  co_await change(call, [&](FirewallFile& file) {
    make_or_rename(file.ipsets, call, "name", "IPSet");
  });
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::ipset(Call& call) {
  const auto& file = firewall_.file(place_of(call).file);
  co_return with_digest(ipset_at(file, call.text("name")).entries);
}

awaitable<json::value> FirewallRoutes::add_address(Call& call) {
  co_await change(call, [&](FirewallFile& file) {
    auto& entries = ipset_at(file, call.text("name")).entries;
    auto cidr = call.text("cidr");
    const auto spec = parse_address_spec(cidr);
    if (spec.kind != AddressSpec::Kind::alias) {
      cidr = clean_cidr(cidr);
    } else if (find_alias(spec, firewall_.datacenter(), &file) == nullptr) {
      throw ApiError{500, fmt::format("no such alias '{}'\n", spec.name)};
    }
    for (const auto& entry : entries) {
      if (json::text_at(entry, "cidr") != cidr) continue;
      throw ApiError::parameter("cidr", fmt::format("address '{}' already exists", cidr));
    }
    if (cidr.ends_with("/0")) {
      throw ApiError::parameter("cidr", "a zero prefix is not allowed in ipset entries");
    }
    json::object entry{{"cidr", cidr}};
    if (call.flag("nomatch")) entry["nomatch"] = 1;
    add_comment(entry, call);
    entries.insert(entries.begin(), std::move(entry));
  });
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::remove_ipset(Call& call) {
  co_await change(call, [&](FirewallFile& file) {
    const auto& name = call.text("name");
    if (!ipset_at(file, name).entries.empty() && !call.flag("force")) {
      throw ApiError{500, fmt::format("IPSet '{}' is not empty\n", name)};
    }
    file.ipsets.erase(name);
  });
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::address(Call& call) {
  const auto& file = firewall_.file(place_of(call).file);
  for (const auto& entry : with_digest(ipset_at(file, call.text("name")).entries)) {
    if (json::text_at(entry, "cidr") == call.text("cidr")) co_return entry;
  }
  throw ApiError::parameter("cidr", "no such IP/Network");
}

awaitable<json::value> FirewallRoutes::remove_address(Call& call) {
  co_await change(call, [&](FirewallFile& file) {
    auto& entries = ipset_at(file, call.text("name")).entries;
    check_digest(call, entries);
    std::erase_if(entries, [&](const json::object& entry) {
      return json::text_at(entry, "cidr") == call.text("cidr");
    });
  });
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::aliases(Call& call) {
  co_return with_digest(list_of(firewall_.file(place_of(call).file).aliases));
}

awaitable<json::value> FirewallRoutes::make_alias(Call& call) {
  co_await change(call, [&](FirewallFile& file) {
    const auto& name = call.text("name");
    json::object entry{{"name", name}, {"cidr", call.text("cidr")}};
    add_comment(entry, call);
    if (!file.aliases.emplace(boost::algorithm::to_lower_copy(name), std::move(entry)).second) {
      throw ApiError::parameter("name", fmt::format("alias '{}' already exists", name));
    }
  });
  co_return nullptr;
}

awaitable<json::value> FirewallRoutes::alias(Call& call) {
  const auto& aliases = firewall_.file(place_of(call).file).aliases;
  const auto found = aliases.find(boost::algorithm::to_lower_copy(call.text("name")));
  if (found == aliases.end()) throw ApiError::parameter("name", "no such alias");
  co_return found->second;
}

awaitable<json::value> FirewallRoutes::remove_alias(Call& call) {
  co_await change(call, [&](FirewallFile& file) {
    check_digest(call, list_of(file.aliases));
    file.aliases.erase(boost::algorithm::to_lower_copy(call.text("name")));
  });
  co_return nullptr;
}

}  // namespace px::node
