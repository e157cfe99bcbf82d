// What the guest agent's calls carry: Base64 in pieces, and bytes as characters. The guest (so the
// model) chooses these bytes.
#include "pve/agent.hpp"
#include "support/bytes.hpp"

#include <cstdlib>

namespace {

void require(bool fact) {
  if (!fact) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text{reinterpret_cast<const char*>(data), size};
  try {
    require(px::pve::agent::decode_pieces(text).size() <= size / 4 * 3);
  } catch (const px::Error& e) {
    require(e.kind == px::Errc::protocol);
  }
  try {
    require(px::latin1_to_utf8(px::utf8_to_latin1(text)) == text);
  } catch (const px::Error& e) {
    require(e.kind == px::Errc::protocol);
  }
  require(px::utf8_to_latin1(px::latin1_to_utf8(text)) == text);
  require(px::pve::agent::decode_pieces(px::to_base64(text)) == text);
  return 0;
}
