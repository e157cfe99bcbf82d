// What a guest (so the model) prints on its console, which ends up in an error's text.
#include "guest/console_text.hpp"
#include "pve/console.hpp"

#include <algorithm>
#include <cstdlib>

namespace {

void require(bool fact) {
  if (!fact) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text{reinterpret_cast<const char*>(data), size};
  const auto lines = px::guest::last_lines(text);
  require(lines.size() <= 10);
  for (const auto& line : lines) {
    require(!line.empty() && line.size() <= 200);
    require(std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; }));
  }
  px::pve::console::Greeting greeting;
  try {
    // The terminal's words first, cut where the bytes say.
    const auto cut = size / 2;
    const std::string_view all{text};
    const auto first = greeting.after(all.substr(0, cut)).size();
    require(first <= cut);
    require(greeting.after(all.substr(cut)).size() <= size - cut);
  } catch (const px::Error& e) {
    require(e.kind == px::Errc::unavailable);
  }
  return 0;
}
