#include "node/storage/ova.hpp"

#include "node/storage/archive_io.hpp"

#include <regex>

namespace px::node {

std::optional<OvaMember> find_ova_member(const Storages& storages, const std::string& volume_id) {
  static const std::regex form{
      R"(([^/]+:import/([^/]+\.ova))/([A-Za-z0-9 ._+=-]+\.(qcow2|raw|vmdk)))"};
  std::smatch match;
  if (volume_id.size() > 512 || !std::regex_match(volume_id, match, form)) return std::nullopt;
  return OvaMember{match[1], storages.resolve(match[1].str()).path, match[3], match[4]};
}

void extract_ova_member(const OvaMember& member, const std::filesystem::path& target) {
  try {
    extract_from_tar(member.archive, member.name, target);
  } catch (Error& error) {
    error.said = "error during extraction: " + error.said;
    throw;
  }
}

void check_ova(const std::filesystem::path& archive) {
  bool has_ovf = false;
  list_tar(archive, [&has_ovf](const std::string& name) {
    has_ovf = name.ends_with(".ovf");
    return !has_ovf;
  });
  if (!has_ovf) throw Error{Errc::rejected, "ova archive has no .ovf file inside"};
}

}  // namespace px::node
