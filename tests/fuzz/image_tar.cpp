// A stranger's tar: members that lie inside of it under names that lead nowhere else, each once and
// one after the other, or an Error{bad_input} that names the file. The same bytes as a manifest.
#include "image/manifest.hpp"
#include "image/ova_members.hpp"
#include "support/error.hpp"

#include <cstdlib>
#include <filesystem>
#include <set>

namespace {

void require(bool fact) {
  if (!fact) std::abort();
}

void check_members(std::string_view bytes) {
  std::uint64_t end = 0;
  std::set<std::string> names;
  for (const auto& member :
       px::image::read_members(px::image::Window::of_memory(bytes, "box.ova"))) {
    require(member.offset >= end);
    require(member.offset <= bytes.size() && member.size <= bytes.size() - member.offset);
    end = member.offset + member.size;
    require(names.insert(member.name).second);
    require(!member.name.empty() && member.name.front() != '/');
    for (const auto& part : std::filesystem::path{member.name})
      require(part != ".." && part != ".");
  }
}

void check_manifest(std::string_view text) {
  for (const auto& entry : px::image::parse_manifest(text, "box.ova: box.mf")) {
    require(entry.hex.size() >= 40);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  for (const auto check : {check_members, check_manifest}) {
    try {
      check(bytes);
    } catch (const px::Error& error) {
      require(error.kind == px::Errc::bad_input);
      require(std::string_view{error.what()}.starts_with("box.ova"));
    }
  }
  return 0;
}
