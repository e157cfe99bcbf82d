#pragma once
#include "image/inventory.hpp"
#include "pve/client.hpp"
#include "sandbox/networks.hpp"
#include "support/async.hpp"

#include <string>
#include <vector>

/// What people ask about a server's images: which can go.
namespace px::sandbox {

/// Something on a server, and why it is removed or stays.
struct ImageChoice {
  struct Item {
    std::string what;  ///< "template 734512331 (inspect-victim)", "upload local:import/..."
    std::string why;
    std::optional<pve::VmRef> vm{};
    std::optional<pve::VolumeId> upload{};
  };
  std::vector<Item> remove;
  std::vector<Item> keep;
  std::vector<std::string> unknown;  ///< names that this server doesn't have
};

/// What nothing uses: templates that no VM is a clone of, what makers left that are dead, and media
/// that no VM has.
ImageChoice unused_images(const image::Inventory& inventory, const LifeOf& life_of);

/// Those of these names: VMIDs, tags, or volumes of uploads and media. Kept: what VMs use, or
/// a run that is not dead is making.
ImageChoice named_images(const image::Inventory& inventory, const std::vector<std::string>& names,
                         const LifeOf& life_of);

/// Removes what was chosen, going on past failures. Returns what is left and why.
awaitable<std::vector<std::string>> remove_images(pve::Client& client, ImageChoice choice);

}  // namespace px::sandbox
