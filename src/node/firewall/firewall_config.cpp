#include "node/firewall/firewall_config.hpp"

#include "support/bytes.hpp"

#include <fmt/format.h>

#include <set>

namespace px::node {

namespace {

constexpr std::string_view firewall_folder = "firewall";

std::string firewall_state(const std::string& name) {
  return fmt::format("{}/{}.json", firewall_folder, name);
}

json::array list_to_json(const std::vector<json::object>& list) {
  json::array out;
  for (const auto& entry : list) out.push_back(entry);
  return out;
}

std::vector<json::object> list_from_json(const json::value& stored) {
  std::vector<json::object> out;
  for (const auto& entry : stored.as_array()) out.push_back(entry.as_object());
  return out;
}

std::string digest_lines(const json::object& object) {
  std::set<std::string> lines;
  for (const auto& [key, value] : object) {
    const auto text =
        value.is_string() ? std::string{value.get_string()} : boost::json::serialize(value);
    lines.insert(fmt::format("{}:{}\n", std::string_view{key}, text));
  }
  return fmt::format("{}", fmt::join(lines, ""));
}

}  // namespace

json::object FirewallFile::to_json() const {
  json::object out{{"options", options}, {"rules", list_to_json(rules)}};
  auto& stored_aliases = out["aliases"].emplace_object();
  for (const auto& [name, alias] : aliases) stored_aliases[name] = alias;
  auto& stored_sets = out["ipsets"].emplace_object();
  for (const auto& [name, set] : ipsets) {
    stored_sets[name] =
        json::object{{"comment", set.comment}, {"entries", list_to_json(set.entries)}};
  }
  auto& stored_groups = out["groups"].emplace_object();
  for (const auto& [name, group] : groups) {
    stored_groups[name] =
        json::object{{"comment", group.comment}, {"rules", list_to_json(group.rules)}};
  }
  return out;
}

FirewallFile FirewallFile::from_json(const json::value& stored) {
  FirewallFile out;
  out.options = stored.at("options").as_object();
  out.rules = list_from_json(stored.at("rules"));
  for (const auto& [name, alias] : stored.at("aliases").as_object()) {
    out.aliases[name] = alias.as_object();
  }
  for (const auto& [name, set] : stored.at("ipsets").as_object()) {
    out.ipsets[name] = {json::text_at(set, "comment"), list_from_json(set.at("entries"))};
  }
  for (const auto& [name, group] : stored.at("groups").as_object()) {
    out.groups[name] = {json::text_at(group, "comment"), list_from_json(group.at("rules"))};
  }
  return out;
}

bool FirewallFile::empty() const {
  return options.empty() && rules.empty() && aliases.empty() && ipsets.empty() && groups.empty();
}

std::string firewall_digest(const json::object& object) {
  return sha1_hex(digest_lines(object));
}

std::string firewall_digest(const std::vector<json::object>& list) {
  std::string lines;
  for (const auto& entry : list) lines += digest_lines(entry);
  return sha1_hex(lines);
}

Firewall::Firewall(State& state, bool armed) : state_{state} {
  std::filesystem::create_directories(state_.path(firewall_folder));
  for (const auto& entry : std::filesystem::directory_iterator{state_.path(firewall_folder)}) {
    if (entry.path().extension() != ".json") continue;
    const std::string name = entry.path().stem().string();
    const auto text = state_.read(firewall_state(name)).value_or("");
    files_[name] = FirewallFile::from_json(json::parse(text, firewall_state(name)));
  }
  if (armed && !files_.contains(datacenter_name())) {
    files_[datacenter_name()].options = {{"enable", 1}, {"policy_in", "ACCEPT"}};
  }
}

std::string Firewall::vm_name(int vmid) {
  return fmt::format("vm-{}", vmid);
}

std::string Firewall::vnet_name(const std::string& vnet) {
  return fmt::format("vnet-{}", vnet);
}

const FirewallFile& Firewall::file(const std::string& name) const {
  static const FirewallFile nothing;
  const auto found = files_.find(name);
  return found == files_.end() ? nothing : found->second;
}

std::vector<std::string> Firewall::names() const {
  std::vector<std::string> out;
  for (const auto& [name, file] : files_) out.push_back(name);
  return out;
}

void Firewall::change(const std::string& name, const std::function<void(FirewallFile&)>& change) {
  FirewallFile changed = file(name);
  change(changed);
  store(name, std::move(changed));
}

void Firewall::copy_vm(int source, int target) {
  if (!of_vm(source).empty()) store(vm_name(target), of_vm(source));
}

void Firewall::remove_vm(int vmid) {
  if (files_.erase(vm_name(vmid)) > 0) state_.remove(firewall_state(vm_name(vmid)));
}

void Firewall::store(const std::string& name, FirewallFile file) {
  // The datacenter's stays when it is empty: else a new node would be armed again.
  if (file.empty() && name != datacenter_name()) {
    if (files_.erase(name) > 0) state_.remove(firewall_state(name));
    return;
  }
  state_.write(firewall_state(name), boost::json::serialize(file.to_json()));
  files_[name] = std::move(file);
}

}  // namespace px::node
