#include "node/vm/cloud_init_drive.hpp"

#include "node/vm/cloud_init.hpp"
#include "node/vm/iso_image.hpp"

#include <fstream>
#include <iterator>

namespace px::node {

namespace {

/// As Proxmox VE allocates it.
constexpr std::uint64_t image_bytes = 4 << 20;
constexpr std::uintmax_t largest_snippet = 1 << 20;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

}  // namespace

void CloudInitDrive::check_single(int vmid, const Options& before, const Options& set) {
  Options after = before;
  for (const auto& [name, value] : set) after[name] = value;
  for (const auto& asking : drives_of(set)) {
    if (!wants_cloud_init(asking)) continue;
    Options others = after;
    others.erase(asking.name);
    if (const auto other = find_cloud_init_drive(vmid, others)) {
      throw ApiError{500, fmt::format("{} - cloud-init drive is already attached at '{}'",
                                      asking.name, other->name)};
    }
  }
}

void CloudInitDrive::note(Vm& vm) {
  const Options options = vm.config.after_pending();
  if (find_cloud_init_drive(vm.id, options)) vm.config.cloud_init = cloud_init_options(options);
}

std::map<std::string, std::string> CloudInitDrive::custom_texts(const Options& options) const {
  const Properties custom{option_or(options, "cicustom")};
  std::map<std::string, std::string> texts;
  for (const auto& [key, id] : custom.items()) {
    const Volume volume = services_.vms.storages().existing(id);
    if (volume.content != "snippets") {
      throw ApiError{500, fmt::format("{} is not in the snippets directory", id)};
    }
    if (std::filesystem::file_size(volume.path) > largest_snippet) {
      throw ApiError{500, fmt::format("{} is larger than 1 MiB", id)};
    }
    texts[key] = read_file(volume.path);
  }
  return texts;
}

awaitable<void> CloudInitDrive::generate(VmPtr vm) const {
  const Options options = vm->config.after_pending();
  const auto drive = find_cloud_init_drive(vm->id, options);
  if (!drive) co_return;
  const CloudInitImage image = cloud_init_image(options, vm->id, custom_texts(options));
  co_await run_in_pool(services_.threads,
                       [path = services_.vms.storages().resolve(drive->volume).path, image] {
                         write_iso_image(path, image.label, image.files, image_bytes);
                       });
  Options made_of = cloud_init_options(options);
  if (made_of == vm->config.cloud_init) co_return;
  vm->config.cloud_init = std::move(made_of);
  services_.vms.save(*vm);
}

awaitable<void> CloudInitDrive::drop_unused(VmPtr vm, Options before) const {
  const auto old = find_cloud_init_drive(vm->id, before);
  if (!old) co_return;
  const auto holds = [&](const Options& options) {
    const auto now = find_cloud_init_drive(vm->id, options);
    return now && now->volume == old->volume;
  };
  if (holds(vm->config.current) || holds(vm->config.pending)) co_return;
  vm->config.cloud_init.clear();
  services_.vms.save(*vm);
  co_await run_in_pool(services_.threads,
                       [path = services_.vms.storages().resolve(old->volume).path] {
                         std::error_code ignored;
                         std::filesystem::remove(path, ignored);
                       });
}

}  // namespace px::node
