// Each route's parameter table against the schema of the real API (../shared/pve).
#include "node/rights.hpp"
#include "node/vm/option_format.hpp"
#include "node_under_test.hpp"

#include <fstream>
#include <set>
#include <sstream>

namespace {

using namespace px;
using node::ParamType;

/// Null where the schema is not beside the checkout.
json::value load_schema() {
  std::ifstream file{std::filesystem::path{PX_SOURCE_DIR} / "../shared/pve/api-schema.json"};
  if (!file) return nullptr;
  std::stringstream text;
  text << file.rdbuf();
  return json::parse(text.str(), "api-schema.json");
}

std::string_view type_name(ParamType type) {
  switch (type) {
    case ParamType::string:
      return "string";
    case ParamType::integer:
      return "integer";
    case ParamType::number:
      return "number";
    case ParamType::boolean:
      return "boolean";
    case ParamType::array:
      return "array";
  }
  return "";
}

std::set<std::string> texts_of(const json::value* list) {
  std::set<std::string> out;
  if (list == nullptr) return out;
  for (const auto& item : list->as_array()) out.emplace(item.as_string());
  return out;
}

/// How a parameter of ours differs from the schema's; empty when it does not.
std::string difference(const node::Param& ours, const json::value& theirs) {
  const auto type = json::text_or(theirs, "type", "string");
  if (type != type_name(ours.type)) return fmt::format("is a {} there", type);
  if (json::flag_or(theirs, "optional", false) == ours.required) {
    return ours.required ? "is optional there" : "is required there";
  }
  const auto check = [&](std::string_view key, const auto& bound) -> std::string {
    const auto* there = json::find(theirs, key);
    if (there == nullptr && !bound) return {};
    if (there == nullptr) return fmt::format("has no {} there", key);
    const auto wanted = json::number_at(theirs, key);
    if (!bound) return fmt::format("has {} {} there, none here", key, wanted);
    if (static_cast<std::int64_t>(*bound) == wanted) return {};
    return fmt::format("has {} {} there", key, wanted);
  };
  if (auto text = check("minimum", ours.minimum); !text.empty()) return text;
  if (auto text = check("maximum", ours.maximum); !text.empty()) return text;
  if (auto text = check("maxLength", ours.max_length); !text.empty()) return text;
  const std::set<std::string> choices{ours.one_of.begin(), ours.one_of.end()};
  const bool by_pattern = choices.empty() && !ours.pattern.empty();  // a hundred drive names
  if (type == "string" && !by_pattern && choices != texts_of(json::find(theirs, "enum"))) {
    return "has other choices there";
  }
  return {};
}

/// The right of a call that asks for one object's privileges: "/vms/{vmid} VM.Audit".
std::string right_there(const json::value& call) {
  const auto* permissions = json::find(call, "permissions");
  const auto* check = permissions == nullptr ? nullptr : json::find(*permissions, "check");
  // Of several that all must hold, the first is the one that a refusal names.
  if (check != nullptr && check->at(0) == "and") check = &check->at(1);
  if (check == nullptr || check->at(0) != "perm") return {};
  std::vector<std::string> privileges;
  for (const auto& name : check->at(2).as_array()) privileges.emplace_back(name.as_string());
  return fmt::format("{} {}", std::string_view{check->at(1).as_string()},
                     fmt::join(privileges, "|"));
}

std::string right_here(const node::Route& route) {
  const auto* right = node::right_of(route);
  return right == nullptr ? "" : fmt::format("{} {}", right->object, right->privileges);
}

std::vector<std::string> differences(const node::Route& route, const json::value& call) {
  std::vector<std::string> out;
  if (right_here(route) != right_there(call)) {
    out.push_back(fmt::format("asks for '{}' there", right_there(call)));
  }
  if (json::flag_or(call, "protected", false) != route.is_protected) {
    out.emplace_back(route.is_protected ? "is not protected there" : "is protected there");
  }
  if (json::flag_or(call, "allowtoken", true) != route.allow_token) {
    out.emplace_back("differs in allowtoken");
  }
  const json::object none;
  const auto* given = json::find(call.at("parameters"), "properties");
  const auto& properties = given == nullptr ? none : given->as_object();
  std::set<std::string> declared;
  for (const auto& param : route.params) {
    declared.insert(param.name);
    const auto it = properties.find(param.name);
    if (it == properties.end()) {
      out.push_back(param.name + " is not there");
    } else if (auto text = difference(param, it->value()); !text.empty()) {
      out.push_back(param.name + " " + text);
    }
  }
  for (const auto& [name, property] : properties) {
    const bool in_path =
        route.path.find(fmt::format("{{{}}}", std::string_view{name})) != std::string::npos;
    if (!in_path && !json::flag_or(property, "optional", false) && !declared.contains(name)) {
      out.push_back(std::string{name} + " is required there and missing here");
    }
  }
  return out;
}

TEST(ApiSchema, holdsEveryRouteWithItsParameters) {
  const auto schema = load_schema();
  if (schema.is_null()) GTEST_SKIP() << "no schema beside the checkout";
  px::testing::NodeUnderTest node;
  std::set<std::string> seen;
  for (const auto& route : node.node().routes()) {
    if (route.path.starts_with("/_control/")) continue;
    const auto name = route.method + " " + route.path;
    EXPECT_TRUE(seen.insert(name).second) << name << " is there twice";
    const auto* path = json::find(schema, route.path);
    const auto* call = path == nullptr ? nullptr : json::find(*path, route.method);
    if (call == nullptr) {
      ADD_FAILURE() << name << " is no call of the real API";
      continue;
    }
    for (const auto& text : differences(route, *call)) ADD_FAILURE() << name << ": " << text;
  }
  EXPECT_GT(seen.size(), 60U);
}

/// How our keys of a property string differ from the schema's.
std::vector<std::string> key_differences(const node::PropertyFormat& ours,
                                         const json::object& theirs) {
  std::vector<std::string> out;
  std::set<std::string> declared;
  for (const auto& key : ours.keys) {
    declared.insert(key.name);
    const auto it = theirs.find(key.name);
    if (it == theirs.end()) {
      out.push_back(key.name + " is not there");
    } else if (auto text = difference(key, it->value()); !text.empty()) {
      out.push_back(key.name + " " + text);
    }
  }
  for (const auto& [name, key] : theirs) {
    const auto alias = json::text_or(key, "alias", "");
    if (!alias.empty()) {
      const auto ours_of = ours.aliases.find(name);
      if (ours_of == ours.aliases.end() || ours_of->second != alias) {
        out.push_back(std::string{name} + " is another name of " + alias + " there");
      }
    } else if (!declared.contains(name)) {
      out.push_back(std::string{name} + " is missing here");
    }
    if (json::flag_or(key, "default_key", false) && ours.default_key != name) {
      out.push_back(std::string{name} + " is the default key there");
    }
  }
  return out;
}

TEST(ApiSchema, holdsTheFormsOfAVmsOptions) {
  const auto schema = load_schema();
  if (schema.is_null()) GTEST_SKIP() << "no schema beside the checkout";
  const auto& options = schema.at("/nodes/{node}/qemu/{vmid}/config")
                            .at("PUT")
                            .at("parameters")
                            .at("properties")
                            .as_object();
  int seen = 0;
  for (const auto& [name, option] : options) {
    const auto* theirs = json::find(option, "format");
    // Models and addresses of NICs are checked beside their format.
    if (theirs == nullptr || !theirs->is_object() || name == "net[n]") continue;
    auto numbered = std::string{name};
    if (numbered.ends_with("[n]")) numbered.replace(numbered.size() - 3, 3, "0");
    const auto* ours = node::property_format_of(numbered);
    if (ours == nullptr) {
      ADD_FAILURE() << name << " is a property string there";
      continue;
    }
    ++seen;
    for (const auto& text : key_differences(*ours, theirs->as_object())) {
      ADD_FAILURE() << name << ": " << text;
    }
  }
  EXPECT_GT(seen, 15);
}

}  // namespace
