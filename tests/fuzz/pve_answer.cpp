// Error answers: one line of status and reason, then the body. Whatever comes, an Error with a
// kind and one line of text comes out.
#include "pve/classify.hpp"

#include <cstdlib>

namespace {

void require(bool fact) {
  if (!fact) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const int status = 400 + (data[0] * 256 + data[1]) % 200;
  const auto line = text.substr(2, text.find('\n', 2) - 2);
  const auto body = text.substr(std::min(size, 2 + line.size() + 1));
  const auto error = px::pve::classify(status, line, body, "GET", "/version");
  require(error.kind != px::Errc::internal);
  require(!error.said.empty());
  require(error.said.find('\n') == std::string::npos);
  require(error.sent != px::Sent::no);
  require(std::string_view{error.what()}.size() >= error.said.size() ||
          error.said.find('\0') != std::string::npos);
  return 0;
}
