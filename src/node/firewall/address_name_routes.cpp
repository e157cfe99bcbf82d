#include "node/firewall/address_name_routes.hpp"

#include "node/firewall/firewall_lists.hpp"
#include "node/firewall/firewall_rules.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

namespace px::node {

namespace {

const std::string vm_firewall = "/nodes/{node}/qemu/{vmid}/firewall";

int vmid_of(const Call& call) {
  return static_cast<int>(call.number("vmid"));
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

template <class File>
auto& ipset_at(File& file, const std::string& name) {
  const auto set = file.ipsets.find(name);
  if (set == file.ipsets.end()) throw ApiError{500, fmt::format("no such IPSet '{}'\n", name)};
  return set->second;
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

void AddressNameRoutes::add(Router& router, std::string method, std::string path,
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

void AddressNameRoutes::add_routes(Router& router) {
  const std::string ipsets = vm_firewall + "/ipset";
  const std::string aliases = vm_firewall + "/aliases";
  const Param digest{.name = "digest", .max_length = 64};
  const Param comment{.name = "comment"};
  const Param entry{.name = "cidr", .required = true, .format = "IPorCIDRorAlias"};
  const Param kind{.name = "type", .one_of = {"alias", "ipset"}};
  add(router, "GET", "/cluster/firewall/refs", {kind}, &AddressNameRoutes::refs);
  add(router, "GET", vm_firewall, {}, &AddressNameRoutes::index);
  add(router, "GET", vm_firewall + "/refs", {kind}, &AddressNameRoutes::refs);
  add(router, "GET", ipsets, {}, &AddressNameRoutes::ipsets);
  add(router, "POST", ipsets,
      {firewall_name("name", 64, true), firewall_name("rename", 64, false), comment, digest},
      &AddressNameRoutes::make_ipset);
  add(router, "GET", ipsets + "/{name}", {}, &AddressNameRoutes::ipset);
  add(router, "POST", ipsets + "/{name}",
      {entry, comment, {.name = "nomatch", .type = ParamType::boolean}},
      &AddressNameRoutes::add_address);
  add(router, "DELETE", ipsets + "/{name}", {{.name = "force", .type = ParamType::boolean}},
      &AddressNameRoutes::remove_ipset);
  add(router, "GET", ipsets + "/{name}/{cidr}", {}, &AddressNameRoutes::address);
  add(router, "DELETE", ipsets + "/{name}/{cidr}", {digest}, &AddressNameRoutes::remove_address);
  add(router, "GET", aliases, {}, &AddressNameRoutes::aliases);
  add(router, "POST", aliases,
      {firewall_name("name", 64, true),
       {.name = "cidr", .required = true, .format = "IPorCIDR"},
       comment},
      &AddressNameRoutes::make_alias);
  add(router, "GET", aliases + "/{name}", {}, &AddressNameRoutes::alias);
  add(router, "DELETE", aliases + "/{name}", {digest}, &AddressNameRoutes::remove_alias);
}

const FirewallFile& AddressNameRoutes::file_of(const Call& call) const {
  return firewall_.of_vm(vmid_of(call));
}

awaitable<void> AddressNameRoutes::change(Call& call, std::function<void(FirewallFile&)> change) {
  firewall_.change(Firewall::vm_name(vmid_of(call)), change);
  co_await networks_.filter(vmid_of(call));
}

awaitable<json::value> AddressNameRoutes::refs(Call& call) {
  const auto type = call.text_or("type", "");
  auto out = references(firewall_.datacenter(), type, "dc");
  if (!call.has("vmid")) co_return out;
  for (auto& own : references(file_of(call), type, "guest")) {
    out.push_back(std::move(own));
  }
  co_return out;
}

awaitable<json::value> AddressNameRoutes::index(Call& /*call*/) {
  json::array out;
  for (const auto* name : {"rules", "aliases", "ipset", "refs", "options"}) {
    out.push_back(json::object{{"name", name}});
  }
  co_return out;
}

awaitable<json::value> AddressNameRoutes::ipsets(Call& call) {
  co_return with_digest(names_of(file_of(call).ipsets, "name"));
}

awaitable<json::value> AddressNameRoutes::make_ipset(Call& call) {
  co_await change(call,
                  [&](FirewallFile& file) { make_or_rename(file.ipsets, call, "name", "IPSet"); });
  co_return nullptr;
}

awaitable<json::value> AddressNameRoutes::ipset(Call& call) {
  const auto& file = file_of(call);
  co_return with_digest(ipset_at(file, call.text("name")).entries);
}

awaitable<json::value> AddressNameRoutes::add_address(Call& call) {
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

awaitable<json::value> AddressNameRoutes::remove_ipset(Call& call) {
  co_await change(call, [&](FirewallFile& file) {
    const auto& name = call.text("name");
    if (!ipset_at(file, name).entries.empty() && !call.flag("force")) {
      throw ApiError{500, fmt::format("IPSet '{}' is not empty\n", name)};
    }
    file.ipsets.erase(name);
  });
  co_return nullptr;
}

awaitable<json::value> AddressNameRoutes::address(Call& call) {
  const auto& file = file_of(call);
  for (const auto& entry : with_digest(ipset_at(file, call.text("name")).entries)) {
    if (json::text_at(entry, "cidr") == call.text("cidr")) co_return entry;
  }
  throw ApiError::parameter("cidr", "no such IP/Network");
}

awaitable<json::value> AddressNameRoutes::remove_address(Call& call) {
  co_await change(call, [&](FirewallFile& file) {
    auto& entries = ipset_at(file, call.text("name")).entries;
    check_digest(call, entries);
    std::erase_if(entries, [&](const json::object& entry) {
      return json::text_at(entry, "cidr") == call.text("cidr");
    });
  });
  co_return nullptr;
}

awaitable<json::value> AddressNameRoutes::aliases(Call& call) {
  co_return with_digest(list_of(file_of(call).aliases));
}

awaitable<json::value> AddressNameRoutes::make_alias(Call& call) {
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

awaitable<json::value> AddressNameRoutes::alias(Call& call) {
  const auto& aliases = file_of(call).aliases;
  const auto found = aliases.find(boost::algorithm::to_lower_copy(call.text("name")));
  if (found == aliases.end()) throw ApiError::parameter("name", "no such alias");
  co_return found->second;
}

awaitable<json::value> AddressNameRoutes::remove_alias(Call& call) {
  co_await change(call, [&](FirewallFile& file) {
    check_digest(call, list_of(file.aliases));
    file.aliases.erase(boost::algorithm::to_lower_copy(call.text("name")));
  });
  co_return nullptr;
}

}  // namespace px::node
