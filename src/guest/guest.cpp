#include "guest/guest.hpp"

#include "support/error.hpp"

#include <fmt/format.h>

namespace px::guest {

void refuse_nul(std::string_view field, std::string_view text) {
  if (text.find('\0') != std::string_view::npos) {
    throw Error{Errc::bad_input, fmt::format("{}: embedded null byte", field)};
  }
}

void check_argv(const std::vector<std::string>& argv) {
  if (argv.empty() || argv.front().empty()) {
    throw Error{Errc::bad_input, "cmd: is empty; it takes a program and its arguments"};
  }
  for (const auto& word : argv) refuse_nul("cmd", word);
}

}  // namespace px::guest
