// An upload, cut into pieces at places that the input names: the same fields and file come out
// however it is cut, or it is refused however it is cut, and no file is left of a refused one.
#include "node/request.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <unistd.h>

namespace {

struct Upload {
  px::node::Values fields;
  std::string name;
  std::string content;
  bool operator==(const Upload&) const = default;
};

std::filesystem::path spool() {
  static const auto path =
      std::filesystem::temp_directory_path() / ("px-fuzz-upload-" + std::to_string(::getpid()));
  return path;
}

std::optional<Upload> parse(std::string_view body, std::size_t cut) {
  try {
    px::node::MultipartParser parser{"multipart/form-data; boundary=X", spool()};
    for (std::size_t at = 0; at < body.size(); at += cut) parser.feed(body.substr(at, cut));
    const auto file = parser.finish();
    std::ifstream in{file.path, std::ios::binary};
    std::stringstream content;
    content << in.rdbuf();
    std::filesystem::remove(file.path);
    if (content.str().size() != file.size) std::abort();
    return Upload{parser.fields(), file.name, content.str()};
  } catch (const px::node::ApiError&) {
    if (std::filesystem::exists(spool())) std::abort();
    return std::nullopt;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::string_view body{reinterpret_cast<const char*>(data) + 1, size - 1};
  const auto whole = parse(body, body.size() + 1);
  if (parse(body, 1U + data[0]) != whole) std::abort();
  return 0;
}
