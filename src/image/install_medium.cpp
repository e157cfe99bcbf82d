#include "image/install_medium.hpp"

#include "image/progress.hpp"
#include "image/window.hpp"
#include "pve/tasks.hpp"
#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <vector>

namespace px::image {

namespace {

/// All ISO images of a node.
awaitable<std::vector<pve::storage::Volume>> all_media(pve::Client& client, pve::NodeName node) {
  std::vector<pve::storage::Volume> out;
  for (const auto& storage : co_await pve::storage::list(client, node)) {
    if (!storage.active || !storage.holds("iso")) continue;
    for (auto& volume : co_await pve::storage::content(client, node, storage.id, "iso")) {
      out.push_back(std::move(volume));
    }
  }
  co_return out;
}

}  // namespace

bool is_iso_volume(std::string_view text) {
  const auto colon = text.find(':');
  return colon != std::string_view::npos &&
         text.substr(0, colon).find('/') == std::string_view::npos &&
         text.substr(colon).starts_with(":iso/");
}

void check_install_medium(const std::filesystem::path& file) {
  // ECMA-119 section 6.2.1 and ECMA-167 part 2: 16 free sectors, then descriptors that begin with a
  // number and the standard's name.
  constexpr std::uint64_t name_at = 16 * 2048 + 1;
  const auto name = Window::of_file(file).read(name_at, 5);
  if (name == "CD001" || name == "BEA01") return;
  throw_bad_input(
      "vm_source_config.iso", file.string(),
      fmt::format("it is no ISO 9660 or UDF image: offset {} has no volume descriptor", name_at));
}

std::string install_medium_name(std::string_view sha256) {
  return fmt::format("inspect-iso-{}.iso", sha256.substr(0, 16));
}

bool is_install_medium(const std::string& file_name) {
  static const std::regex form{"inspect-iso-[0-9a-f]{16}\\.iso"};
  return std::regex_match(file_name, form);
}

awaitable<pve::storage::Volume> find_medium(pve::Client& client, pve::NodeName node,
                                            pve::VolumeId volume) {
  std::vector<std::string> known;
  for (auto& medium : co_await all_media(client, node)) {
    if (medium.id == volume) co_return medium;
    known.push_back(medium.id.text());
  }
  throw_bad_input("vm_source_config.iso", volume.text(),
                  known.empty() ? fmt::format("node {} has no ISO images", node)
                                : fmt::format("the ISO images of node {} are {}", node,
                                              fmt::join(known, ", ")));
}

awaitable<pve::VolumeId> put_medium(pve::Client& client, pve::NodeName node, pve::StorageId storage,
                                    InstallMedium medium, Deadline limit) {
  if (medium.volume) co_return *medium.volume;
  for (const auto& there : co_await all_media(client, node)) {
    const auto rest = there.id.rest();
    // A file that is still being copied into its place is shorter (pve-practice section 1.1).
    if (rest.substr(rest.rfind('/') + 1) == medium.file_name &&
        there.size == static_cast<std::int64_t>(medium.size)) {
      co_return there.id;
    }
  }
  pve::storage::Upload what{node, std::move(storage), "iso", medium.file_name};
  what.progress = show_progress(medium.path.filename().string() + ": upload");
  const auto source = pve::file_source(client.pool(), medium.path);
  const auto copied = co_await pve::storage::upload(client, what, *source, limit);
  co_await pve::wait_for_task(client, copied, limit, "upload " + what.file_name);
  co_return pve::storage::volume_of(what);
}

}  // namespace px::image
