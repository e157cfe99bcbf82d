#include "pve/params.hpp"

#include "support/bytes.hpp"
#include "support/error.hpp"

#include <boost/json.hpp>

namespace px::pve {

Params& Params::add(std::string name, std::string_view value) {
  items_.push_back({std::move(name), {std::string{value}}});
  return *this;
}

Params& Params::add_list(std::string name, std::vector<std::string> values) {
  if (!values.empty()) items_.push_back({std::move(name), std::move(values), true});
  return *this;
}

Params& Params::add_bytes(std::string name, std::string_view bytes) {
  has_bytes_ = true;
  return add(std::move(name), latin1_to_utf8(bytes));
}

std::string Params::form() const {
  std::string out;
  for (const auto& item : items_) {
    for (const auto& value : item.values) {
      if (!out.empty()) out += '&';
      out += percent_encode(item.name) + '=' + percent_encode(value);
    }
  }
  return out;
}

std::string Params::json() const {
  boost::json::object out;
  for (const auto& item : items_) {
    auto& slot = out[item.name];
    if (slot.is_null() && !item.is_list) {
      slot = item.values.front();
      continue;
    }
    if (!slot.is_array()) {
      boost::json::array list;
      if (!slot.is_null()) list.push_back(slot);
      slot = std::move(list);
    }
    for (const auto& value : item.values) slot.get_array().emplace_back(value);
  }
  return boost::json::serialize(out);
}

Params& Params::add_all(const std::vector<std::pair<std::string, std::string>>& options) {
  for (const auto& [name, value] : options) add(name, value);
  return *this;
}

std::string option_text(std::string_view field, const boost::json::value& value) {
  if (value.is_string()) return std::string{value.get_string()};
  if (value.is_bool()) return value.get_bool() ? "1" : "0";
  if (value.is_number()) return boost::json::serialize(value);
  throw_bad_input(field, boost::json::serialize(value), "it is a text, a number or a boolean");
}

}  // namespace px::pve
