#include "sandbox/instances.hpp"

#include "support/error.hpp"
#include "support/json.hpp"
#include "support/yaml.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

namespace px::sandbox {

namespace {

struct RawHeader {
  std::string name;
  std::string value;
};

/// One entry of the configuration file; the names are the existing provider's.
struct RawInstance {
  std::string instance_id;
  std::string pool_id = "default";
  std::string host;
  int port = 8006;
  std::string user = "root";
  std::string user_realm = "pam";
  std::string password;
  std::string token_id;
  std::string token_secret;
  std::string node = "auto";
  bool verify_tls = true;
  std::string ca_file;
  std::string fingerprint;
  std::string image_storage = "local-lvm";
  std::optional<int> max_sandboxes;
  std::optional<int> memory_reserve_mb;
  std::vector<RawHeader> extra_headers;
};

struct RawFile {
  std::vector<RawInstance> instances;
};

template <class V>
void describe(V& visit, RawHeader& h) {
  visit("name", h.name);
  visit("value", h.value);
}

template <class V>
void describe(V& visit, RawInstance& i) {
  visit("instance_id", i.instance_id);
  visit("pool_id", i.pool_id);
  visit("host", i.host);
  visit("port", i.port);
  visit("user", i.user);
  visit("user_realm", i.user_realm);
  visit("password", i.password);
  visit("token_id", i.token_id);
  visit("token_secret", i.token_secret);
  visit("node", i.node);
  visit("verify_tls", i.verify_tls);
  visit("ca_file", i.ca_file);
  visit("fingerprint", i.fingerprint);
  visit("image_storage", i.image_storage);
  visit("max_sandboxes", i.max_sandboxes);
  visit("memory_reserve_mb", i.memory_reserve_mb);
  visit("extra_headers", i.extra_headers);
}

template <class V>
void describe(V& visit, RawFile& f) {
  visit("instances", f.instances);
}

pve::Instance to_instance(RawInstance&& raw) {
  pve::Instance out;
  out.id = std::move(raw.instance_id);
  out.pool = std::move(raw.pool_id);
  out.host = std::move(raw.host);
  out.port = raw.port;
  out.user = std::move(raw.user);
  out.realm = std::move(raw.user_realm);
  out.password = Secret{std::move(raw.password)};
  out.token_id = std::move(raw.token_id);
  out.token_secret = Secret{std::move(raw.token_secret)};
  out.node = std::move(raw.node);
  out.verify_tls = raw.verify_tls;
  out.ca_file = std::move(raw.ca_file);
  out.fingerprint = std::move(raw.fingerprint);
  out.image_storage = std::move(raw.image_storage);
  out.max_sandboxes = raw.max_sandboxes;
  out.memory_reserve_mb = raw.memory_reserve_mb;
  for (auto& header : raw.extra_headers) {
    out.extra_headers.emplace_back(std::move(header.name), Secret{std::move(header.value)});
  }
  return out;
}

/// A variable's whole number; check() looks at its range.
int parse_number(const std::string& name, const std::string& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) {
    throw_bad_input(name, text, "it is a whole number");
  }
  return number;
}

/// What no instance can do without. `where` prefixes the field names.
void check(const pve::Instance& instance, const std::function<std::string(std::string)>& where) {
  if (instance.host.empty()) {
    throw Error{Errc::bad_input, where("host") + ": is not set"}.with_hint(
        "Name the Proxmox VE server there, or start a local node: "
        "eval \"$(proxmox-sandbox node --background)\".");
  }
  if (instance.token_id.empty() != instance.token_secret.empty()) {
    throw Error{Errc::bad_input, where("token_id") + " and " + where("token_secret") +
                                     ": one is set without the other"};
  }
  if (instance.password.empty() && instance.token_id.empty()) {
    throw Error{Errc::bad_input, where("password") + ": is not set"}.with_hint(
        "Set it, or an API token: " + where("token_id") + " and " + where("token_secret") + ".");
  }
  if (instance.port < 1 || instance.port > 65535) {
    throw_bad_input(where("port"), std::to_string(instance.port), "a port lies in 1..65535");
  }
  if (instance.max_sandboxes && *instance.max_sandboxes < 1) {
    throw_bad_input(where("max_sandboxes"), std::to_string(*instance.max_sandboxes),
                    "it is 1 or more; leave it out to go by memory and cores");
  }
  if (instance.memory_reserve_mb && *instance.memory_reserve_mb < 0) {
    throw_bad_input(where("memory_reserve_mb"), std::to_string(*instance.memory_reserve_mb),
                    "it is 0 or more");
  }
}

bool is_yaml(const std::string& path) {
  return path.ends_with(".yaml") || path.ends_with(".yml");
}

std::vector<pve::Instance> read_file(const std::string& path) {
  std::ifstream file{path};
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) {
    throw_bad_input("PROXMOX_CONFIG_FILE", path, "the file can't be read");
  }
  auto raw = json::to<RawFile>(
      is_yaml(path) ? yaml::parse(text.str(), path) : json::parse(text.str(), path), "");
  if (raw.instances.empty()) throw Error{Errc::bad_input, path + ": instances: is empty"};
  std::vector<pve::Instance> out;
  std::set<std::string> ids;
  for (std::size_t i = 0; i < raw.instances.size(); ++i) {
    if (raw.instances[i].instance_id.empty()) {
      raw.instances[i].instance_id = fmt::format("instance-{}", i + 1);
    }
    out.push_back(to_instance(std::move(raw.instances[i])));
    const auto where = [&](const std::string& field) {
      return fmt::format("{}: instances[{}].{}", path, i, field);
    };
    if (!ids.insert(out.back().id).second) {
      throw_bad_input(where("instance_id"), out.back().id, "another instance has that id");
    }
    check(out.back(), where);
  }
  return out;
}

pve::Instance read_variables(const Environment& environment) {
  pve::Instance out;
  const auto take = [&](const char* name, std::string& field) {
    if (auto value = environment(name); value && !value->empty()) field = std::move(*value);
  };
  std::string port;
  std::string most;
  std::string reserve;
  std::string password;
  std::string token_secret;
  take("PROXMOX_HOST", out.host);
  take("PROXMOX_PORT", port);
  take("PROXMOX_USER", out.user);
  take("PROXMOX_REALM", out.realm);
  take("PROXMOX_PASSWORD", password);
  take("PROXMOX_TOKEN_ID", out.token_id);
  take("PROXMOX_TOKEN_SECRET", token_secret);
  take("PROXMOX_NODE", out.node);
  take("PROXMOX_CA_FILE", out.ca_file);
  take("PROXMOX_FINGERPRINT", out.fingerprint);
  take("PROXMOX_IMAGE_STORAGE", out.image_storage);
  take("PROXMOX_MAX_SANDBOXES", most);
  take("PROXMOX_MEMORY_RESERVE_MB", reserve);
  out.password = Secret{password};
  out.token_secret = Secret{token_secret};
  if (!port.empty()) out.port = parse_number("PROXMOX_PORT", port);
  if (!most.empty()) out.max_sandboxes = parse_number("PROXMOX_MAX_SANDBOXES", most);
  if (!reserve.empty()) {
    out.memory_reserve_mb = parse_number("PROXMOX_MEMORY_RESERVE_MB", reserve);
  }
  out.verify_tls = read_flag(environment, "PROXMOX_VERIFY_TLS", out.verify_tls);
  return out;
}

std::string variable_of(const std::string& field) {
  return "PROXMOX_" + boost::algorithm::to_upper_copy(field);
}

void apply(const InstanceOverrides& overrides, pve::Instance& instance) {
  if (overrides.host) instance.host = *overrides.host;
  if (overrides.port) instance.port = *overrides.port;
  if (overrides.user) instance.user = *overrides.user;
  if (overrides.user_realm) instance.realm = *overrides.user_realm;
  if (!overrides.password.empty()) {
    // A password given for this sample wins over a token of the environment.
    instance.password = overrides.password;
    instance.token_id.clear();
    instance.token_secret = Secret{};
  }
  if (overrides.node) instance.node = *overrides.node;
  if (overrides.verify_tls) instance.verify_tls = *overrides.verify_tls;
  if (overrides.image_storage) instance.image_storage = *overrides.image_storage;
}

std::optional<std::string> config_file(const Environment& environment) {
  auto file = environment("PROXMOX_CONFIG_FILE");
  if (file && file->empty()) file.reset();
  return file;
}

/// From the file, checked, or from the variables, which a spec may complete.
std::vector<pve::Instance> as_written(const Environment& environment) {
  const auto file = config_file(environment);
  auto out = file ? read_file(*file) : std::vector{read_variables(environment)};
  for (auto& instance : out) instance.state_directory = state_directory(environment);
  return out;
}

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>{value};
  };
}

bool read_flag(const Environment& environment, const std::string& name, bool otherwise) {
  const auto text = environment(name).value_or("");
  if (text.empty()) return otherwise;
  const auto lower = boost::algorithm::to_lower_copy(text);
  for (const auto* yes : {"1", "true", "yes", "on"}) {
    if (lower == yes) return true;
  }
  for (const auto* no : {"0", "false", "no", "off"}) {
    if (lower == no) return false;
  }
  throw_bad_input(name, text, "it is 1, true, yes, on or 0, false, no, off");
}

std::filesystem::path state_directory(const Environment& environment) {
  const auto state = environment("XDG_STATE_HOME").value_or("");
  const auto home = environment("HOME").value_or("");
  if (state.empty() && home.empty()) return {};
  const std::filesystem::path base = state.empty()
                                         ? std::filesystem::path{home} / ".local" / "state"
                                         : std::filesystem::path{state};
  return base / "proxmox-sandbox";
}

std::vector<pve::Instance> read_instances(const Environment& environment) {
  auto out = as_written(environment);
  if (!config_file(environment)) check(out.front(), variable_of);
  return out;
}

std::vector<pve::Instance> instances_for(const Spec& spec, const Environment& environment) {
  auto out = as_written(environment);
  // The single variables describe one server, which serves any pool.
  if (const auto file = config_file(environment)) {
    std::set<std::string> pools;
    for (const auto& instance : out) pools.insert(instance.pool);
    std::erase_if(out,
                  [&](const auto& instance) { return instance.pool != spec.instance_pool_id; });
    if (out.empty()) {
      throw_bad_input("instance_pool_id", spec.instance_pool_id,
                      fmt::format("the pools in {} are: {}", *file, fmt::join(pools, ", ")));
    }
  }
  for (auto& instance : out) {
    apply(spec.overrides, instance);
    check(instance, variable_of);
  }
  return out;
}

}  // namespace px::sandbox
