#include "pve/params.hpp"

#include "support/bytes.hpp"

namespace px::pve {

std::string Params::form() const {
  std::string out;
  for (const auto& [name, value] : items_) {
    if (!out.empty()) out += '&';
    out += percent_encode(name);
    out += '=';
    out += percent_encode(value);
  }
  return out;
}

}  // namespace px::pve
