#include "support/yaml.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <charconv>

namespace px::yaml {

namespace {

json::value scalar_of(const YAML::Node& node) {
  const auto& text = node.Scalar();
  if (node.Tag() == "!") return json::value(text);  // quoted
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
    return nullptr;
  }
  std::int64_t whole = 0;
  const auto* end = text.data() + text.size();
  if (const auto [at, error] = std::from_chars(text.data(), end, whole);
      error == std::errc{} && at == end) {
    return whole;
  }
  return json::value(text);
}

json::value value_of(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return scalar_of(node);
    case YAML::NodeType::Sequence: {
      json::array out;
      for (const auto& item : node) out.push_back(value_of(item));
      return out;
    }
    case YAML::NodeType::Map: {
      json::object out;
      for (const auto& item : node) out[item.first.Scalar()] = value_of(item.second);
      return out;
    }
    default:
      return nullptr;
  }
}

}  // namespace

json::value parse(std::string_view text, std::string_view what) {
  try {
    return value_of(YAML::Load(std::string{text}));
  } catch (const YAML::Exception& error) {
    throw Error{Errc::bad_input,
                fmt::format("{}: line {}, column {}: {}", what, error.mark.line + 1,
                            error.mark.column + 1, error.msg)};
  }
}

}  // namespace px::yaml
