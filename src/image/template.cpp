#include "image/template.hpp"

#include "image/bake.hpp"
#include "image/built_in.hpp"
#include "image/install_medium.hpp"
#include "pve/backup.hpp"
#include "support/log.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <sys/stat.h>

namespace px::image {

namespace {

using boost::algorithm::to_lower_copy;

bool has_tag(const pve::qemu::VmSummary& vm, const std::string& tag) {
  return std::any_of(vm.tags.begin(), vm.tags.end(),
                     [&](const auto& t) { return to_lower_copy(t) == tag; });
}

/// Changes when the file does, so that it is read again.
std::string state_of(const std::filesystem::path& file) {
  struct stat seen{};
  if (file.empty() || ::stat(file.c_str(), &seen) != 0) return file.string();
  return fmt::format("{}|{}|{}|{}.{}", file.string(), seen.st_ino, seen.st_size,
                     seen.st_mtim.tv_sec, seen.st_mtim.tv_nsec);
}

std::string cache_key(const TemplateRequest& request) {
  return fmt::format(
      "{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", request.built_in, request.existing_tag,
      request.existing_backup, state_of(request.ova), state_of(request.disk), request.uefi,
      request.secure_boot, request.disk_controller, request.os_type, request.storage.value_or(""),
      request.checksum ? request.checksum->text() : "", state_of(request.iso), request.disk_gb);
}

/// What people brought boots as it boots.
void check_firmware(const TemplateRequest& request, const Template& base) {
  const bool uefi = base.config.get("bios") == "ovmf";
  if (request.uefi == uefi) return;
  throw_bad_input("uefi_boot", request.uefi ? "True" : "False",
                  fmt::format("the template {} boots by {}", base.vm.vmid, uefi ? "UEFI" : "BIOS"));
}

}  // namespace

Templates::Templates(pve::Client& client, pve::NodeName node, std::string storage, std::string run,
                     std::string birth_note, std::function<bool(const std::string& note)> is_dead,
                     std::function<awaitable<std::string>()> uplink)
    : client_{client},
      node_{std::move(node)},
      storage_{std::move(storage)},
      run_{std::move(run)},
      birth_note_{std::move(birth_note)},
      is_dead_{std::move(is_dead)},
      uplink_{std::move(uplink)} {}

awaitable<Template> Templates::get(TemplateRequest request) {
  const auto key = cache_key(request);
  auto& turn = one_at_a_time_[key];
  if (!turn) turn = std::make_unique<Semaphore>(1);
  const auto permit = co_await turn->acquire();
  if (const auto it = known_.find(key); it != known_.end()) co_return it->second;
  Template found = !request.existing_tag.empty()      ? co_await find_existing(request)
                   : !request.existing_backup.empty() ? co_await find_or_restore(request)
                                                      : co_await find_or_bake(request);
  known_.insert_or_assign(key, found);
  co_return found;
}

awaitable<Template> Templates::find_existing(const TemplateRequest& request) {
  const std::string tag = to_lower_copy(request.existing_tag);
  std::vector<pve::Vmid> found;
  std::vector<std::string> others;
  for (const auto& vm : co_await pve::qemu::list(client_, node_)) {
    if (!vm.is_template) continue;
    if (has_tag(vm, tag)) {
      found.push_back(vm.vmid);
    } else {
      others.insert(others.end(), vm.tags.begin(), vm.tags.end());
    }
  }
  if (found.empty()) {
    std::sort(others.begin(), others.end());
    others.erase(std::unique(others.begin(), others.end()), others.end());
    throw_bad_input("vm_source_config.existing_vm_template_tag", request.existing_tag,
                    others.empty() ? fmt::format("node {} has no template with any tag", node_)
                                   : fmt::format("the templates of node {} have the tags {}", node_,
                                                 fmt::join(others, ", ")));
  }
  if (found.size() > 1) {
    throw_bad_input("vm_source_config.existing_vm_template_tag", request.existing_tag,
                    fmt::format("{} templates have it; one must", found.size()));
  }
  const pve::VmRef vm{node_, found.front()};
  Template out{vm, co_await pve::qemu::config(client_, vm)};
  check_firmware(request, out);
  co_return out;
}

/// The template that was made of this content before, whoever made it.
awaitable<std::optional<Template>> Templates::find_made(const Recipe& recipe, const Vms& vms) {
  for (const auto& vm : vms) {
    if (!vm.is_template || !has_tag(vm, recipe.content_tag)) continue;
    const pve::VmRef ref{node_, vm.vmid};
    co_return Template{ref, co_await pve::qemu::config(client_, ref)};
  }
  co_return std::nullopt;
}

/// One of the existing provider, which goes by a name and a size. Where there are several, or where
/// ours are of other content under that name, none of them is surely the right one.
awaitable<std::optional<Template>> Templates::find_of_old_provider(const Recipe& recipe,
                                                                   const Vms& vms) {
  std::vector<pve::Vmid> found;
  for (const auto& vm : vms) {
    if (!vm.is_template || !has_tag(vm, recipe.source_tag)) continue;
    const bool ours = std::ranges::any_of(
        vm.tags, [](const auto& tag) { return tag.starts_with(content_prefix); });
    if (ours && !recipe.content_tag.empty()) co_return std::nullopt;
    found.push_back(vm.vmid);
  }
  if (found.size() != 1) co_return std::nullopt;
  const pve::VmRef ref{node_, found.front()};
  auto config = co_await pve::qemu::config(client_, ref);
  if ((config.get("bios") == "ovmf") != recipe.uefi) co_return std::nullopt;
  log::info("{} is cloned from template {}, found by its tag {}", recipe.title, ref.vmid,
            recipe.source_tag);
  co_return Template{ref, std::move(config)};
}

Kitchen Templates::kitchen_for(const TemplateRequest& request) const {
  return {.node = node_,
          .storage = request.storage.value_or(storage_),
          .run = run_,
          .note = birth_note_,
          .is_dead = is_dead_,
          .uplink = uplink_};
}

awaitable<Template> Templates::find_or_restore(const TemplateRequest& request) {
  std::vector<std::string> known;
  std::optional<pve::storage::Volume> archive;
  for (auto& volume : co_await pve::backup::list(client_, node_)) {
    const auto rest = volume.id.rest();
    known.push_back(volume.id.text());
    const bool named = volume.id.text() == request.existing_backup ||
                       rest.substr(rest.rfind('/') + 1) == request.existing_backup;
    if (named && !archive) archive = std::move(volume);
  }
  if (!archive) {
    throw_bad_input("vm_source_config.existing_backup_name", request.existing_backup,
                    known.empty() ? fmt::format("node {} has no backup of a VM", node_)
                                  : fmt::format("the backups of node {} are {}", node_,
                                                fmt::join(known, ", ")));
  }
  const auto identity =
      fmt::format("{}|{}|{}", archive->id.text(), archive->size, archive->created);
  auto recipe = recipe_of_backup(request, archive->id, identity);
  auto made = co_await find_made(recipe, co_await pve::qemu::list(client_, node_));
  if (!made) {
    const auto vm = co_await restore(client_, kitchen_for(request), std::move(recipe));
    made = Template{vm, co_await pve::qemu::config(client_, vm)};
  }
  check_firmware(request, *made);
  co_return *std::move(made);
}

awaitable<Recipe> Templates::read_recipe(const TemplateRequest& request) {
  if (!is_iso_volume(request.iso)) {
    co_return co_await run_in_pool(client_.pool(), [&] { return recipe_of(request); });
  }
  const auto medium = co_await find_medium(client_, node_, pve::VolumeId::parse(request.iso));
  co_return recipe_of_iso_volume(
      request, medium.id, fmt::format("{}|{}|{}", medium.id.text(), medium.size, medium.created));
}

awaitable<Template> Templates::find_or_bake(const TemplateRequest& request) {
  auto recipe = co_await read_recipe(request);
  const auto vms = co_await pve::qemu::list(client_, node_);
  if (!recipe.content_tag.empty()) {
    if (auto made = co_await find_made(recipe, vms)) co_return *std::move(made);
  }
  if (auto old = co_await find_of_old_provider(recipe, vms)) co_return *std::move(old);
  if (recipe.content_tag.empty()) throw missing_file(find_built_in(request.built_in), node_.text());
  const auto vm = co_await bake(client_, kitchen_for(request), std::move(recipe));
  co_return Template{vm, co_await pve::qemu::config(client_, vm)};
}

}  // namespace px::image
