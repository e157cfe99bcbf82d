#include "node/vm/disk_import.hpp"

#include "node/storage/ova.hpp"
#include "node/vm/volumes.hpp"
#include "support/bytes.hpp"

#include <algorithm>

namespace px::node {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// How long an import waits for the VM whose disk it reads (qemu-server, import_from_volid).
constexpr auto owner_limit = 30s;

void check_working_storage(const Storages& storages, const std::string& drive,
                           const std::string& source, const ImportOptions& options) {
  const bool named = !options.working_storage.empty();
  const Storage& storage =
      storages.get(named ? options.working_storage : source.substr(0, source.find(':')));
  if (storage.holds("images")) return;
  throw ApiError::parameter(named ? "import-working-storage" : drive,
                            fmt::format("import working storage '{}' does not support 'images' "
                                        "content type or is not file based.",
                                        storage.id));
}

}  // namespace

ImportOptions ImportOptions::of(const Call& call) {
  return {.any_path = call.user == "root@pam",
          .working_storage = call.text_or("import-working-storage", "")};
}

DiskImport::Source::~Source() {
  if (unpacked.empty()) return;
  std::error_code ignored;
  fs::remove(unpacked, ignored);
}

void DiskImport::check(const Drive& drive, const ImportOptions& options) const {
  const Storages& storages = services_.vms.storages();
  const std::string source = drive.properties.get("import-from");
  if (source.starts_with('/')) {
    if (options.any_path) return;
    throw ApiError{500, "Only root can pass arbitrary filesystem paths."};
  }
  if (find_ova_member(storages, source)) {
    check_working_storage(storages, drive.name, source, options);
    return;
  }
  const Volume volume = storages.resolve(source);
  if (volume.content != "images" && volume.content != "import") {
    throw ApiError::parameter(drive.name,
                              fmt::format("{} has wrong type '{}' - needs to be 'images' or "
                                          "'import'",
                                          source, volume.content));
  }
  const std::string format = Volumes::format_of(source);
  if (format != "raw" && format != "qcow2" && format != "vmdk") {
    throw ApiError{500, fmt::format("volume '{}' - not a QEMU image format '{}'", source, format)};
  }
}

awaitable<DiskImport::Source> DiskImport::open(int vmid, std::string source, ImportOptions options,
                                               TaskLog& log) const {
  const Storages& storages = services_.vms.storages();
  if (find_ova_member(storages, source)) {
    co_return co_await unpack(vmid, std::move(source), std::move(options), log);
  }
  Source out;
  out.path = source.starts_with('/') ? fs::path{source} : storages.resolve(source).path;
  out.format = Volumes::format_of(source);
  std::error_code error;
  if (!fs::is_regular_file(out.path, error)) {
    throw Error{Errc::not_found, fmt::format("failed to stat '{}'", out.path.string())};
  }
  log.line(fmt::format("create full clone of drive ({})", source));
  if (source.starts_with('/')) co_return out;
  const Volume volume = storages.resolve(source);
  if (volume.content == "images") co_return co_await open_disk(vmid, volume);
  co_return out;
}

/// A disk that this node made. It may have a base, and its VM must not write it meanwhile.
awaitable<DiskImport::Source> DiskImport::open_disk(int vmid, Volume volume) const {
  Source out;
  out.path = volume.path;
  out.format = Volumes::format_of(volume.id);
  out.foreign = false;
  const int owner_id = volume.owner();
  if (!services_.vms.has(owner_id)) co_return out;
  const VmPtr owner = services_.vms.at(owner_id);
  // A template's disks are never written; the new disk's own VM is locked already.
  if (owner_id != vmid && !owner->is_template()) {
    out.owner_lock = co_await services_.vms.lock(owner, owner_limit);
  }
  if (owner->machine->status().running) {
    throw Error{Errc::unsupported, "the local node does not copy the disks of a running VM"};
  }
  for (const auto& drive : drives_of(owner->config.current)) {
    if (drive.volume != volume.id) continue;
    out.declared_bytes = parse_size(drive.properties.get("size")).value_or(0);
  }
  co_return out;
}

awaitable<DiskImport::Source> DiskImport::unpack(int vmid, std::string source,
                                                 ImportOptions options, TaskLog& log) const {
  const Storages& storages = services_.vms.storages();
  const auto member = find_ova_member(storages, source);
  std::error_code error;
  if (!fs::is_regular_file(member->archive, error)) {
    throw Error{Errc::not_found, fmt::format("failed to stat '{}'", member->archive.string())};
  }
  const std::string storage = options.working_storage.empty() ? source.substr(0, source.find(':'))
                                                              : options.working_storage;
  Source out;
  out.unpacked = storages.images_folder(storage, std::to_string(vmid)) /
                 fmt::format("tmp-{}.{}", random_hex(8), member->format);
  out.path = out.unpacked;
  out.format = member->format;
  log.line(fmt::format("extracting {}", source));
  co_await run_in_pool(services_.threads, [&] { extract_ova_member(*member, out.path); });
  log.line(fmt::format("create full clone of drive ({})", source));
  co_return out;
}

std::string DiskImport::default_format(const std::string& source, const std::string& format) {
  // qemu-server keeps a volume's format, where a disk can have it here, and none of a bare path's.
  return !source.starts_with('/') && format == "qcow2" ? "qcow2" : "raw";
}

std::uint64_t DiskImport::copy(Disks& disks, const Source& source, const fs::path& image,
                               const std::string& format) {
  const auto bytes = source.foreign ? disks.size_of_import(source.path, source.format)
                                    : disks.size(source.path, source.format);
  if (source.foreign && source.format == format) {
    if (source.unpacked.empty()) {
      // As it is: no decompression, and a file system may share the blocks.
      fs::copy_file(source.path, image, fs::copy_options::overwrite_existing);
    } else {
      fs::rename(source.path, image);
    }
  } else {
    disks.copy(source.path, source.format, image, format);
  }
  return std::max(bytes, source.declared_bytes);
}

}  // namespace px::node
