#include "pve/backup.hpp"

#include <fmt/format.h>

#include <sstream>

namespace px::pve::backup {

awaitable<std::vector<storage::Volume>> list(Client& client, NodeName node) {
  std::vector<storage::Volume> out;
  for (const auto& place : co_await storage::list(client, node)) {
    if (!place.active || !place.holds("backup")) continue;
    for (auto& volume : co_await storage::content(client, node, place.id, "backup")) {
      // vzdump-qemu-ID-DATE.vma.zst, or vm/ID/DATE of a backup server (pve-storage, Plugin.pm).
      const auto rest = volume.id.rest();
      if (rest.find("vzdump-qemu-") != rest.npos || rest.find("backup/vm/") != rest.npos) {
        out.push_back(std::move(volume));
      }
    }
  }
  co_return out;
}

awaitable<std::map<std::string, std::string>> config(Client& client, NodeName node,
                                                     VolumeId archive) {
  const auto data = co_await client.get(fmt::format("/nodes/{}/vzdump/extractconfig", node),
                                        Params{}.add("volume", archive.text()));
  if (!data.is_string()) throw Error{Errc::protocol, "the answer is no configuration"};
  std::map<std::string, std::string> out;
  std::istringstream lines{std::string{data.get_string()}};
  for (std::string line; std::getline(lines, line) && !line.starts_with('[');) {
    const auto colon = line.find(": ");
    if (colon != std::string::npos && !line.starts_with('#')) {
      out.emplace(line.substr(0, colon), line.substr(colon + 2));
    }
  }
  co_return out;
}

}  // namespace px::pve::backup
