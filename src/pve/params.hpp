#pragma once
#include "pve/ids.hpp"

#include <boost/json/value.hpp>

#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace px::pve {

/// The parameters of one call, in order. Lists are what the API calls arrays (a repeated key).
/// Booleans travel as 1 and 0. Texts are UTF-8.
class Params {
 public:
  Params& add(std::string name, std::string_view value);
  Params& add(std::string name, const char* value) {
    return add(std::move(name), std::string_view{value});
  }
  Params& add(std::string name, const std::string& value) {
    return add(std::move(name), std::string_view{value});
  }
  Params& add(std::string name, std::same_as<bool> auto value) {
    return add(std::move(name), std::string_view{value ? "1" : "0"});
  }
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  Params& add(std::string name, T value) {
    return add(std::move(name), std::string_view{std::to_string(value)});
  }
  template <NameOfThing T>
  Params& add(std::string name, const T& value) {
    return add(std::move(name), std::string_view{std::string{value.text()}});
  }
  /// Adds nothing for an empty optional.
  template <class T>
  Params& add(std::string name, const std::optional<T>& value) {
    return value ? add(std::move(name), *value) : *this;
  }
  template <class T>
  Params& add_if(bool condition, std::string name, const T& value) {
    return condition ? add(std::move(name), value) : *this;
  }
  /// An array, even of one item. Empty: adds nothing.
  Params& add_list(std::string name, std::vector<std::string> values);
  /// Options and their values.
  Params& add_all(const std::vector<std::pair<std::string, std::string>>& options);
  /// Bytes for a guest (`input-data`, `content`): each byte becomes one character
  /// (pve-facts section 9). Such a call goes as JSON, which is smaller than percent-encoding.
  Params& add_bytes(std::string name, std::string_view bytes);

  bool empty() const noexcept { return items_.empty(); }
  bool has_bytes() const noexcept { return has_bytes_; }

  /// application/x-www-form-urlencoded, also the form of a query string.
  std::string form() const;
  /// A JSON object.
  std::string json() const;

 private:
  struct Item {
    std::string name;
    std::vector<std::string> values;
    bool is_list = false;
  };
  std::vector<Item> items_;
  bool has_bytes_ = false;
};

/// What a configuration gives for an option, as the API takes it. Throws Error{bad_input} naming
/// `field` unless it is a text, a number or a boolean.
std::string option_text(std::string_view field, const boost::json::value& value);

}  // namespace px::pve
