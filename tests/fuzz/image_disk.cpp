// A stranger's disk image: a header with a size that is one, or an Error{bad_input} that names the
// file. Headers may point anywhere. Of a VHDX, whose tables begin at 192 KiB, an input holds the
// magic and then what lies from there on.
#include "image/disk_header.hpp"
#include "support/error.hpp"

#include <cstdlib>

namespace {

constexpr std::string_view vhdx = "vhdxfile";

std::string image_of(std::string_view input) {
  if (!input.starts_with(vhdx)) return std::string{input};
  constexpr std::size_t tables = 192 * 1024;
  std::string out{vhdx};
  out.resize(tables, '\0');
  return out.append(input.substr(vhdx.size()));
}

void require(bool fact) {
  if (!fact) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = image_of({reinterpret_cast<const char*>(data), size});
  const auto image = px::image::Window::of_memory(bytes, "disk.img");
  try {
    const auto header = px::image::read_disk_header(image);
    const bool packed = header.compression != px::image::Compression::none;
    require(packed == (header.virtual_size == 0));
    require(header.virtual_size <= INT64_MAX);
    if (header.compression == px::image::Compression::gzip) px::image::format_in_gzip(image);
  } catch (const px::Error& error) {
    require(error.kind == px::Errc::bad_input);
    require(std::string_view{error.what()}.starts_with("disk.img: "));
  }
  return 0;
}
