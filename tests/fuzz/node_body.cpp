// A request's body and query: refused as the server would, or read into values.
#include "node/request.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  for (const auto parse : {&px::node::parse_form, &px::node::parse_json}) {
    px::node::Values out;
    try {
      parse(text, out);
    } catch (const px::node::ApiError& error) {
      if (error.status != 400 && error.status != 500) std::abort();
    }
  }
  return 0;
}
