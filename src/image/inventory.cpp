#include "image/inventory.hpp"

#include "image/bake.hpp"
#include "image/claim.hpp"
#include "image/cloud_seed.hpp"
#include "image/install_medium.hpp"
#include "image/recipe.hpp"
#include "pve/nodes.hpp"
#include "pve/qemu.hpp"
#include "pve/storage.hpp"

#include <algorithm>

namespace px::image {

namespace {

std::string tag_beginning(const std::vector<std::string>& tags, std::string_view prefix) {
  const auto it =
      std::ranges::find_if(tags, [&](const auto& tag) { return tag.starts_with(prefix); });
  return it == tags.end() ? "" : *it;
}

std::string source_of(const std::vector<std::string>& tags) {
  for (const auto* prefix : {"builtin-", "ova-", "disk-", "backup-"}) {
    if (auto tag = tag_beginning(tags, prefix); !tag.empty()) return tag;
  }
  return "";
}

std::string run_in(std::string_view description) {
  constexpr std::string_view key = "inspect-run: ";
  const auto at = description.find(key);
  return at == std::string_view::npos ? "" : std::string{description.substr(at + key.size(), 8)};
}

awaitable<void> add_templates(pve::Client& client, pve::NodeName node, Inventory& out) {
  const auto vms = co_await pve::qemu::list(client, node);
  for (const auto& vm : vms) {
    const bool ours = std::ranges::find(vm.tags, "inspect") != vm.tags.end();
    MadeTemplate made{{node, vm.vmid},
                      vm.name,
                      source_of(vm.tags),
                      tag_beginning(vm.tags, content_prefix),
                      vm.is_template};
    if (!ours || (!made.is_ready && made.content_tag.empty())) continue;
    if (!made.is_ready) {
      const auto config = co_await pve::qemu::config_if_there(client, made.vm);
      const auto description = config ? config->get("description") : "";
      if (description.find(making_key) == std::string::npos) continue;  // a sample's VM
      made.run = run_in(description);
    }
    for (const auto& other : vms) {
      const bool same = std::ranges::find(other.tags, made.content_tag) != other.tags.end();
      if (same && !made.content_tag.empty() && other.vmid != vm.vmid) {
        made.clones.push_back(other.vmid);
      }
    }
    out.templates.push_back(std::move(made));
  }
}

awaitable<void> add_uploads(pve::Client& client, pve::NodeName node, Inventory& out) {
  for (const auto& storage : co_await pve::storage::list(client, node)) {
    if (!storage.active || !storage.holds("import")) continue;
    for (const auto& volume : co_await pve::storage::content(client, node, storage.id, "import")) {
      const std::string rest{volume.id.rest()};
      const auto run = run_of_upload(rest.substr(rest.rfind('/') + 1));
      if (run) out.uploads.push_back({volume.id, *run, volume.size});
    }
  }
}

/// The nodes whose VMs can have a storage's file in a drive.
awaitable<std::vector<pve::NodeName>> nodes_with(pve::Client& client, pve::NodeName node,
                                                 bool is_shared) {
  if (!is_shared) co_return std::vector{node};
  std::vector<pve::NodeName> out;
  for (const auto& other : co_await pve::nodes::list(client)) {
    if (other.online) out.push_back(other.name);
  }
  co_return out;
}

awaitable<void> find_users(pve::Client& client, pve::NodeName node,
                           std::vector<StoredMedium>& media) {
  for (const auto& vm : co_await pve::qemu::list(client, node)) {
    const auto config = co_await pve::qemu::config_if_there(client, {node, vm.vmid});
    if (!config) continue;
    for (auto& medium : media) {
      const bool has_it = std::ranges::any_of(config->values, [&](const auto& entry) {
        return entry.second.starts_with(medium.volume.text());
      });
      if (has_it) medium.users.push_back(vm.vmid);
    }
  }
}

awaitable<void> add_media(pve::Client& client, pve::NodeName node, Inventory& out) {
  for (const auto& storage : co_await pve::storage::list(client, node)) {
    if (!storage.active || !storage.holds("iso")) continue;
    std::vector<StoredMedium> media;
    for (const auto& volume : co_await pve::storage::content(client, node, storage.id, "iso")) {
      const std::string rest{volume.id.rest()};
      const auto name = rest.substr(rest.rfind('/') + 1);
      if (is_seed(name) || is_install_medium(name)) media.push_back({volume.id, volume.size});
    }
    if (media.empty()) continue;
    for (const auto& other : co_await nodes_with(client, node, storage.shared)) {
      co_await find_users(client, other, media);
    }
    out.media.insert(out.media.end(), media.begin(), media.end());
  }
}

}  // namespace

awaitable<Inventory> take_inventory(pve::Client& client, pve::NodeName node) {
  Inventory out;
  co_await add_templates(client, node, out);
  co_await add_uploads(client, node, out);
  co_await add_media(client, node, out);
  co_return out;
}

}  // namespace px::image
