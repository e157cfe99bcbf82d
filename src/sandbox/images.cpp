#include "sandbox/images.hpp"

#include "pve/qemu.hpp"
#include "pve/storage.hpp"
#include "pve/tasks.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::sandbox {

namespace {

using namespace std::chrono_literals;
using image::MadeTemplate;
using image::StoredMedium;
using image::UploadedFile;
using Item = ImageChoice::Item;

/// "VM 201 is made of it", "VMs 201, 202 are made of it".
std::string vms_text(const std::vector<pve::Vmid>& vms, std::string_view one,
                     std::string_view many) {
  return fmt::format("VM{} {} {}", vms.size() == 1 ? "" : "s", fmt::join(vms, ", "),
                     vms.size() == 1 ? one : many);
}

/// Why it must stay; empty when it may go.
std::string reason_to_keep(const MadeTemplate& made, const LifeOf& life_of) {
  if (!made.clones.empty()) {
    return vms_text(made.clones, "is made of it", "are made of it");
  }
  if (made.is_ready) return "";
  const auto life = life_of(made.run).life;
  if (life == Life::alive) return fmt::format("run {} makes it", made.run);
  if (life == Life::unknown) return fmt::format("run {}, of elsewhere, may be making it", made.run);
  return "";
}

std::string reason_to_keep(const UploadedFile& file, const LifeOf& life_of) {
  const auto life = life_of(file.run).life;
  if (life == Life::alive) return fmt::format("run {} uses it", file.run);
  return life == Life::unknown ? fmt::format("run {}, of elsewhere, may be using it", file.run)
                               : "";
}

std::string reason_to_keep(const StoredMedium& medium, const LifeOf& /*life_of*/) {
  return medium.users.empty() ? ""
                              : vms_text(medium.users, "has it in a drive", "have it in drives");
}

Item item_of(const MadeTemplate& made) {
  return {fmt::format("{} {} ({})", made.is_ready ? "template" : "VM", made.vm.vmid, made.name),
          made.is_ready ? "no VM is made of it" : "its maker died", made.vm};
}

Item item_of(const UploadedFile& file) {
  return {"upload " + file.volume.text(), "its maker died", std::nullopt, file.volume};
}

/// Whoever needs it next uploads it again.
Item item_of(const StoredMedium& medium) {
  return {"medium " + medium.volume.text(), "no VM has it", std::nullopt, medium.volume};
}

template <class T>
void choose(const T& thing, const LifeOf& life_of, ImageChoice& out) {
  auto item = item_of(thing);
  auto reason = reason_to_keep(thing, life_of);
  if (reason.empty()) {
    out.remove.push_back(std::move(item));
  } else {
    item.why = std::move(reason);
    out.keep.push_back(std::move(item));
  }
}

awaitable<void> remove_one(pve::Client& client, const Item& item) {
  const auto limit = Deadline::after(5min);
  const auto node = pve::NodeName::parse(client.instance().node);
  const auto upid = item.vm
                        ? co_await pve::qemu::destroy(client, *item.vm, limit)
                        : co_await pve::storage::delete_volume(client, node, *item.upload, limit);
  co_await pve::wait_for_task(client, upid, limit, "remove " + item.what);
}

}  // namespace

ImageChoice unused_images(const image::Inventory& inventory, const LifeOf& life_of) {
  ImageChoice out;
  for (const auto& made : inventory.templates) choose(made, life_of, out);
  for (const auto& file : inventory.uploads) choose(file, life_of, out);
  for (const auto& medium : inventory.media) choose(medium, life_of, out);
  return out;
}

ImageChoice named_images(const image::Inventory& inventory, const std::vector<std::string>& names,
                         const LifeOf& life_of) {
  ImageChoice out;
  for (const auto& name : names) {
    bool found = false;
    for (const auto& made : inventory.templates) {
      if (made.vm.vmid.text() != name && made.source != name && made.content_tag != name &&
          made.name != name) {
        continue;
      }
      found = true;
      choose(made, life_of, out);
    }
    for (const auto& file : inventory.uploads) {
      if (file.volume.text() != name) continue;
      found = true;
      choose(file, life_of, out);
    }
    for (const auto& medium : inventory.media) {
      if (medium.volume.text() != name) continue;
      found = true;
      choose(medium, life_of, out);
    }
    if (!found) out.unknown.push_back(name);
  }
  return out;
}

awaitable<std::vector<std::string>> remove_images(pve::Client& client, ImageChoice choice) {
  std::vector<std::string> left;
  for (const auto& item : choice.remove) {
    try {
      co_await remove_one(client, item);
    } catch (const Error& error) {
      left.push_back(fmt::format("{}: {}", item.what, error.what()));
    }
  }
  co_return left;
}

}  // namespace px::sandbox
