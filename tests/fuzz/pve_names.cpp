// The names that a server's answers hold: a text is refused as bad_input, or comes back unchanged.
#include "pve/connection.hpp"
#include "pve/ids.hpp"
#include "pve/version.hpp"

#include <cstdlib>

namespace {

using px::Errc;
using px::Error;

void require(bool fact) {
  if (!fact) std::abort();
}

template <class T>
void parse(std::string_view text) {
  try {
    const auto name = T::parse(text);
    require(std::string{name.text()} == text);
  } catch (const Error& e) {
    require(e.kind == Errc::bad_input);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  parse<px::pve::Upid>(text);
  parse<px::pve::Vmid>(text);
  parse<px::pve::NodeName>(text);
  parse<px::pve::StorageId>(text);
  parse<px::pve::VolumeId>(text);
  try {
    px::pve::Version::parse(text);
  } catch (const Error& e) {
    require(e.kind == Errc::protocol);
  }
  try {
    require(px::pve::parse_fingerprint(text).size() == 64);
  } catch (const Error& e) {
    require(e.kind == Errc::bad_input);
  }
  return 0;
}
