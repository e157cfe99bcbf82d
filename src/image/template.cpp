#include "image/template.hpp"

#include "image/built_in.hpp"
#include "pve/cluster.hpp"
#include "pve/nodes.hpp"
#include "pve/storage.hpp"
#include "pve/tasks.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>

namespace px::image {

namespace {

using boost::algorithm::to_lower_copy;

using namespace std::chrono_literals;

/// Changes when a template made by an older version must not be used any more.
constexpr std::string_view recipe_version = "1";

constexpr int most_scsi = 30;  // scsi0..scsi30 (qemu-server, Drive.pm)

bool has_tag(const pve::qemu::VmSummary& vm, const std::string& tag) {
  return std::any_of(vm.tags.begin(), vm.tags.end(),
                     [&](const auto& t) { return to_lower_copy(t) == tag; });
}

std::string file_sha256(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  std::string piece(1 << 20, '\0');
  Sha256 sum;
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0) {
    sum.update(std::string_view{piece}.substr(0, static_cast<std::size_t>(file.gcount())));
  }
  if (!file.eof()) throw_bad_input("image", path, "the file can't be read");
  return sum.hex();
}

/// Same content and same shape, same tag.
std::string content_tag(const TemplateRequest& request, const std::string& sha256) {
  const auto shape = fmt::format("{}|{}|{}|{}", sha256, request.disk_controller,
                                 request.uefi ? "uefi" : "bios", recipe_version);
  return "inspect-src-" + sha256_hex(shape).substr(0, 16);
}

std::string cache_key(const TemplateRequest& request) {
  return fmt::format("{}|{}|{}|{}", request.built_in, request.existing_tag, request.uefi,
                     request.disk_controller);
}

/// What a VM made from `import` looks like: every clone inherits it.
pve::Params template_config(const TemplateRequest& request, const std::string& storage,
                            const pve::VolumeId& import, const std::string& tags,
                            const std::string& note, bool kvm) {
  const std::string disk = request.disk_controller == "ide" ? "ide0" : "scsi0";
  pve::Params config;
  config.add("name", "inspect-" + request.built_in)
      .add("description", note)
      .add("tags", tags)
      .add("memory", 512)
      .add("cores", 2)
      .add("ostype", "l26")
      .add("cpu", kvm ? "host" : "max")
      .add("agent", "1")
      .add("serial0", "socket")
      .add("scsihw", "virtio-scsi-pci")
      .add(disk, fmt::format("{}:0,import-from={}", storage, import.text()))
      .add("scsi1", "none,media=cdrom")
      .add("rng0", "source=/dev/urandom")
      .add("boot", "order=" + disk);
  // A node without it refuses to start a VM that does not turn it off (qemu-server, QemuServer.pm).
  if (!kvm) config.add("kvm", false);
  if (request.uefi) {
    config.add("bios", "ovmf").add("efidisk0", storage + ":1,efitype=4m,pre-enrolled-keys=0");
  }
  return config;
}

}  // namespace

std::string cd_drive_of(const pve::qemu::VmConfigMap& config) {
  for (const auto& [option, value] : config.values) {
    const bool drive =
        option.starts_with("scsi") || option.starts_with("ide") || option.starts_with("sata");
    if (drive && value.starts_with("none") && value.find("media=cdrom") != std::string::npos) {
      return option;
    }
  }
  if (config.get("scsihw").starts_with("virtio-scsi")) {
    for (int i = 1; i <= most_scsi; ++i) {
      const auto option = fmt::format("scsi{}", i);
      if (config.get(option).empty()) return option;
    }
  }
  // On q35 an IDE drive hangs on AHCI, which small kernels lack (pve-practice section 1).
  const bool q35 = config.get("machine").find("q35") != std::string::npos;
  if (!q35 && config.get("ide2").empty()) return "ide2";
  return {};
}

Templates::Templates(pve::Client& client, pve::NodeName node, std::string storage,
                     std::string birth_note)
    : client_{client},
      node_{std::move(node)},
      storage_{std::move(storage)},
      birth_note_{std::move(birth_note)} {}

awaitable<Template> Templates::get(TemplateRequest request) {
  const auto permit = co_await one_at_a_time_.acquire();
  const auto key = cache_key(request);
  if (const auto it = known_.find(key); it != known_.end()) co_return it->second;
  Template found = request.built_in.empty() ? co_await find_existing(request)
                                            : co_await find_or_make_built_in(request);
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
  const bool uefi = out.config.get("bios") == "ovmf";
  if (request.uefi != uefi) {
    throw_bad_input("uefi_boot", request.uefi ? "True" : "False",
                    fmt::format("the template {} boots by {}", vm.vmid, uefi ? "UEFI" : "BIOS"));
  }
  co_return out;
}

awaitable<Template> Templates::find_or_make_built_in(const TemplateRequest& request) {
  const BuiltIn& built_in = find_built_in(request.built_in);
  const auto file = file_of(built_in);
  std::string wanted = fmt::format("builtin-{}", built_in.name);
  std::string tag;
  if (file) {
    const auto sum = co_await run_in_pool(client_.pool(), [&] { return file_sha256(*file); });
    wanted = tag = content_tag(request, sum);
  }
  for (const auto& vm : co_await pve::qemu::list(client_, node_)) {
    if (!vm.is_template || !has_tag(vm, wanted)) continue;
    const pve::VmRef ref{node_, vm.vmid};
    auto config = co_await pve::qemu::config(client_, ref);
    if ((config.get("bios") == "ovmf") == request.uefi) co_return Template{ref, std::move(config)};
  }
  if (!file) {
    std::vector<std::string> directories;
    for (const auto& directory : image_directories()) directories.push_back(directory.string());
    throw Error{Errc::not_found,
                fmt::format("vm_source_config.built_in: there is no template of {} on node {}, and "
                            "no file {} in {}",
                            built_in.name, node_, built_in.file, fmt::join(directories, " or "))}
        .with_hint(fmt::format("{}; PROXMOX_SANDBOX_IMAGES names its directory.", built_in.how));
  }
  const auto vm = co_await make(request, file->string(), tag);
  co_return Template{vm, co_await pve::qemu::config(client_, vm)};
}

awaitable<pve::StorageId> Templates::import_storage() {
  std::string seen;
  bool images = false;
  std::optional<pve::StorageId> found;
  for (const auto& storage : co_await pve::storage::list(client_, node_)) {
    seen += fmt::format("{}{} ({})", seen.empty() ? "" : ", ", storage.id,
                        fmt::join(storage.content, " "));
    if (storage.id.text() == storage_) {
      images = true;
      if (!storage.holds("images")) {
        throw_bad_input("PROXMOX_IMAGE_STORAGE", storage_,
                        fmt::format("it holds {}, no images", fmt::join(storage.content, ", ")));
      }
    }
    if (!found && storage.active && storage.holds("import")) found = storage.id;
  }
  if (!images) {
    throw_bad_input("PROXMOX_IMAGE_STORAGE", storage_,
                    fmt::format("the storages of node {} are {}", node_, seen));
  }
  if (!found) {
    throw Error{Errc::unsupported,
                fmt::format("no storage of node {} takes uploads of disk images: {}", node_, seen)}
        .with_hint(
            "Add the content type `import` to one of type dir, for example: "
            "pvesm set local --content iso,vztmpl,backup,import");
  }
  co_return *found;
}

/// Creates a VM under a number that is surely ours: the server's proposal is no reservation.
awaitable<pve::VmRef> Templates::create(pve::Params config) {
  const auto limit = Deadline::after(30min);
  for (int attempt = 0;; ++attempt) {
    const pve::VmRef vm{node_, co_await pve::cluster::next_id(client_)};
    try {
      const auto upid = co_await pve::qemu::create(client_, vm, config, limit);
      co_await pve::wait_for_task(client_, upid, limit, fmt::format("create {}", vm.vmid));
      co_return vm;
    } catch (const Error& error) {
      if (error.kind != Errc::already_exists || attempt == 20) throw;
    }
  }
}

/// Whether VMs run with hardware virtualisation here; true where we may not know.
awaitable<bool> Templates::has_kvm() {
  try {
    co_return (co_await pve::nodes::status(client_, node_)).kvm;
  } catch (const Error& error) {
    if (error.kind != Errc::forbidden) throw;
  }
  co_return true;
}

awaitable<pve::VmRef> Templates::make(const TemplateRequest& request, std::string file,
                                      std::string content_tag) {
  const auto limit = Deadline::after(30min);
  const auto storage = co_await import_storage();
  log::info("making a template of {} on node {}", request.built_in, node_);
  const auto source = pve::file_source(client_.pool(), file);
  pve::storage::Upload upload{node_, storage, "import",
                              fmt::format("{}-{}.qcow2", request.built_in, content_tag)};
  upload.progress = [last = std::uint64_t{0}](std::uint64_t sent, std::uint64_t size) mutable {
    const auto tenth = size == 0 ? 10 : sent * 10 / size;
    if (tenth == last) return;
    last = tenth;
    log::info("uploaded {} of {} MB", sent / 1'000'000, size / 1'000'000);
  };
  std::optional<pve::VmRef> made;
  auto body = [](Templates& self, pve::storage::Upload what, pve::BodySource& bytes,
                 TemplateRequest wanted, std::string tag, Deadline until,
                 std::optional<pve::VmRef>& out, bool& done) -> awaitable<void> {
    const auto copied = co_await pve::storage::upload(self.client_, what, bytes, until);
    co_await pve::wait_for_task(self.client_, copied, until, "upload " + what.file_name);
    const auto tags = fmt::format("inspect;builtin-{};{}", wanted.built_in, tag);
    out = co_await self.create(template_config(wanted, self.storage_, pve::storage::volume_of(what),
                                               tags, self.birth_note_, co_await self.has_kvm()));
    const auto converted = co_await pve::qemu::make_template(self.client_, *out, until);
    co_await pve::wait_for_task(self.client_, converted, until,
                                fmt::format("make {} a template", out->vmid));
    done = true;
  };
  bool ready = false;
  auto clean_up = [](pve::Client& client, pve::NodeName node, pve::VolumeId volume,
                     const std::optional<pve::VmRef>& half_made,
                     const bool& complete) -> awaitable<void> {
    const auto until = Deadline::after(60s);
    co_await pve::storage::delete_volume(client, node, volume, until);
    if (complete || !half_made) co_return;
    const auto upid = co_await pve::qemu::destroy(client, *half_made, until);
    co_await pve::wait_for_task(client, upid, until, fmt::format("destroy {}", half_made->vmid));
  };
  co_await with_cleanup(body(*this, upload, *source, request, content_tag, limit, made, ready),
                        clean_up(client_, node_, pve::storage::volume_of(upload), made, ready));
  log::info("the template of {} is VM {}", request.built_in, made->vmid);
  co_return *made;
}

}  // namespace px::image
