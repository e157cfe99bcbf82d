#pragma once
#include "node/firewall/firewall_config.hpp"
#include "node/route.hpp"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What the lists of the firewall have in common: digests, names and comments.
namespace px::node {

/// The parameter for a security group's, IP set's or alias's name.
inline Param firewall_name(std::string name, std::size_t longest, bool required) {
  return {.name = std::move(name),
          .required = required,
          .max_length = longest,
          .pattern = "[A-Za-z][A-Za-z0-9\\-_]+"};
}

/// Throws ApiError 500 when the caller saw another content.
template <class Content>
void check_digest(const Call& call, const Content& content) {
  if (!call.has("digest") || call.text("digest") == firewall_digest(content)) return;
  throw ApiError{500, "detected modified configuration - file changed by other user? Try again.\n"};
}

/// A list as it is shown: each entry with the digest of all.
inline json::array with_digest(const std::vector<json::object>& list) {
  json::array out;
  for (auto entry : list) {
    entry["digest"] = firewall_digest(list);
    out.push_back(std::move(entry));
  }
  return out;
}

/// The entries of a map, each with a comment where it has one.
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

}  // namespace px::node
