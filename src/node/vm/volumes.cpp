#include "node/vm/volumes.hpp"

#include "node/vm/cloud_init.hpp"
#include "node/vm/firmware.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>

namespace px::node {

namespace {

namespace fs = std::filesystem;

/// Of every TPM, whatever size is asked for (qemu-server Drive.pm, TPMSTATE_DISK_SIZE).
constexpr std::uint64_t tpm_state_bytes = 4 << 20;

struct Request {
  std::string storage;
  double gib = 0;
};

std::optional<Request> parse_request(const std::string& volume) {
  const auto colon = volume.find(':');
  if (colon == std::string::npos) return std::nullopt;
  Request request{volume.substr(0, colon)};
  const char* const end = volume.data() + volume.size();
  const auto parsed = std::from_chars(volume.data() + colon + 1, end, request.gib);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return request;
}

std::string file_of(const std::string& volume) {
  return volume.substr(volume.rfind('/') + 1);
}

std::string storage_of(const std::string& volume) {
  return volume.substr(0, volume.find(':'));
}

void check_images(const Storage& storage) {
  if (storage.holds("images")) return;
  throw ApiError{500,
                 fmt::format("storage '{}' does not support content-type 'images'", storage.id)};
}

/// An imported state is useless without knowing what it is (qemu-server API2/Qemu.pm).
void check_state_import(const Drive& drive) {
  if (!drive.properties.has("import-from")) return;
  const auto need = [&drive](const char* key) {
    if (drive.properties.has(key)) return;
    throw ApiError::parameter(drive.name,
                              fmt::format("need to specify '{}' when using 'import-from'", key));
  };
  if (drive.bus() == "efidisk") {
    need("efitype");
    need("pre-enrolled-keys");
  }
  if (drive.bus() == "tpmstate") need("version");
}

}  // namespace

bool Volumes::is_request(const Drive& drive) {
  return wants_cloud_init(drive) || parse_request(drive.volume).has_value();
}

void Volumes::check(const Drive& drive, const ImportOptions& imports) const {
  const Storages& storages = services_.vms.storages();
  if (drive.is_empty()) return;
  if (wants_cloud_init(drive)) {
    if (drive.is_state() || drive.bus() == "virtio") {
      throw ApiError::parameter(drive.name, "unable to parse drive options");
    }
    check_images(storages.get(storage_of(drive.volume)));
    return;
  }
  const auto request = parse_request(drive.volume);
  if (!request) {
    if (drive.properties.has("import-from")) {
      throw ApiError::parameter(drive.name,
                                "'import-from' requires special syntax - use <storage "
                                "ID>:0,import-from=<source>");
    }
    storages.existing(drive.volume);
    return;
  }
  check_images(storages.get(request->storage));
  check_state_import(drive);
  const std::string format = drive.properties.get("format", "raw");
  if (drive.bus() == "tpmstate" && format != "raw") {
    throw ApiError::parameter(drive.name, "the local node keeps the state of a TPM as raw only");
  }
  if (format != "raw" && format != "qcow2") {
    throw ApiError::parameter(drive.name, fmt::format("the local node makes raw and qcow2 disks, "
                                                      "not {}",
                                                      format));
  }
  if (!drive.properties.has("import-from")) {
    if (request->gib <= 0 && !drive.is_state()) {
      throw ApiError{500, fmt::format("{}: a disk needs a size", drive.name)};
    }
    return;
  }
  if (request->gib != 0) {
    throw ApiError::parameter(drive.name,
                              "'import-from' requires special syntax - use <storage "
                              "ID>:0,import-from=<source>");
  }
  import_.check(drive, imports);
}

std::string Volumes::format_of(const std::string& volume) {
  std::string extension = fs::path{file_of(volume)}.extension().string();
  return extension.empty() || extension == ".img" || extension == ".iso" ? "raw"
                                                                         : extension.substr(1);
}

bool Volumes::is_base(const std::string& volume) {
  return file_of(volume).starts_with("base-");
}

std::string Volumes::own_name(const std::string& volume) {
  const fs::path path{volume.substr(volume.find(':') + 1)};
  return fmt::format("{}:{}/{}", storage_of(volume), path.parent_path().filename().string(),
                     path.filename().string());
}

fs::path Volumes::path(const std::string& volume) const {
  return services_.vms.storages().resolve(volume).path;
}

bool Volumes::is_own_disk(int vmid, const Drive& drive) {
  if (drive.is_cdrom() || drive.is_empty()) return false;
  return drive.volume.find(fmt::format("{}/vm-{}-", vmid, vmid)) != std::string::npos ||
         drive.volume.find(fmt::format("{}/base-{}-", vmid, vmid)) != std::string::npos;
}

std::string Volumes::reserve(const std::string& storage, int vmid,
                             const std::string& format) const {
  const fs::path folder = services_.vms.storages().images_folder(storage, std::to_string(vmid));
  fs::create_directories(folder);
  for (int number = 0;; ++number) {
    const std::string stem = fmt::format("vm-{}-disk-{}", vmid, number);
    const auto taken = [&](const fs::directory_entry& entry) {
      return entry.path().stem() == stem ||
             entry.path().stem() == fmt::format("base-{}-disk-{}", vmid, number);
    };
    if (std::any_of(fs::directory_iterator{folder}, fs::directory_iterator{}, taken)) continue;
    const std::string name = fmt::format("{}.{}", stem, format);
    const std::ofstream created{folder / name};
    return fmt::format("{}:{}/{}", storage, vmid, name);
  }
}

void Volumes::reserve_cloud_init(int vmid, Drive& drive, const std::string& storage) const {
  services_.vms.storages().images_folder(storage, std::to_string(vmid));
  drive.volume = fmt::format("{}:{}", storage, cloud_init_volume(vmid));
  drive.properties.set("media", "cdrom");
  drive.properties.erase("format");
  drive.properties.erase("size");
  const fs::path image = path(drive.volume);
  if (fs::exists(image)) {
    throw ApiError{500, fmt::format("disk image '{}' already exists", image.string())};
  }
  const std::ofstream created{image};
}

awaitable<void> Volumes::make(int vmid, Drive& drive, ImportOptions imports, TaskLog& log) const {
  if (wants_cloud_init(drive)) {
    reserve_cloud_init(vmid, drive, storage_of(drive.volume));
    log.line(fmt::format("{}: successfully created disk '{}'", drive.name, drive.print()));
    co_return;
  }
  const auto request = parse_request(drive.volume);
  if (!request) co_return;
  const bool imported = drive.properties.has("import-from");
  if (drive.bus() == "efidisk" && !imported) {
    co_await make_efi_variables(vmid, drive, log);
    co_return;
  }
  // Variables are always qcow2: a snapshot of the VM must be able to hold them.
  if (drive.bus() == "efidisk") drive.properties.set("format", "qcow2");
  std::uint64_t bytes = 0;
  if (imported) {
    bytes = co_await import(vmid, drive, std::move(imports), log);
  } else {
    const std::string format = drive.properties.get("format", "raw");
    bytes = drive.is_state() ? tpm_state_bytes
                             : static_cast<std::uint64_t>(request->gib * double{1U << 30});
    drive.volume = reserve(request->storage, vmid, format);
    log.line(
        fmt::format("Formatting '{}', fmt={} size={}", path(drive.volume).string(), format, bytes));
    co_await run_in_pool(services_.threads,
                         [&disks = services_.vms.disks(), image = path(drive.volume), format,
                          bytes] { disks.create(image, format, bytes); });
  }
  drive.properties.erase("import-from");
  drive.properties.erase("format");
  drive.properties.set("size", print_size(bytes));
  log.line(fmt::format("{}: successfully created disk '{}'", drive.name, drive.print()));
}

awaitable<std::uint64_t> Volumes::import(int vmid, Drive& drive, ImportOptions imports,
                                         TaskLog& log) const {
  const std::string from = drive.properties.get("import-from");
  const DiskImport::Source source = co_await import_.open(vmid, from, std::move(imports), log);
  const std::string format =
      drive.properties.get("format", DiskImport::default_format(from, source.format));
  const std::string made = reserve(storage_of(drive.volume), vmid, format);
  log.line(fmt::format("allocated target volume '{}'", made));
  std::exception_ptr failure;
  try {
    const auto bytes = co_await run_in_pool(services_.threads, [&] {
      return DiskImport::copy(services_.vms.disks(), source, path(made), format);
    });
    drive.volume = made;
    co_return bytes;
  } catch (...) {
    failure = std::current_exception();
  }
  drop_name(made);
  std::rethrow_exception(failure);
}

awaitable<void> Volumes::make_efi_variables(int vmid, Drive& drive, TaskLog& log) const {
  const UefiFirmwares installed = find_uefi_firmwares();
  const UefiFirmware& firmware = installed.of(drive.properties);
  if (firmware.variables.empty()) {
    throw Error{Errc::unsupported,
                fmt::format("EFI vars image '{}' not found", firmware.wanted_variables)};
  }
  drive.volume = reserve(parse_request(drive.volume)->storage, vmid, "qcow2");
  co_await run_in_pool(services_.threads,
                       [&disks = services_.vms.disks(), from = firmware.variables,
                        image = path(drive.volume)] { disks.copy(from, "raw", image, "qcow2"); });
  drive.properties.erase("format");
  drive.properties.set("size", print_size(fs::file_size(firmware.variables)));
  log.line(fmt::format("{}: successfully created disk '{}'", drive.name, drive.print()));
}

awaitable<void> Volumes::link(int vmid, Drive& drive, TaskLog& log) const {
  const std::string base = drive.volume;
  const std::string storage = storage_of(base);
  log.line(fmt::format("create linked clone of drive {} ({})", drive.name, base));
  const std::string own = reserve(storage, vmid, "qcow2");
  co_await run_in_pool(services_.threads,
                       [&disks = services_.vms.disks(), image = path(own), from = path(base),
                        format = format_of(base)] { disks.create_linked(image, from, format); });
  drive.volume = fmt::format("{}/{}/{}", own_name(base), vmid, file_of(own));
  const std::string short_base = own_name(base).substr(storage.size() + 1);
  log.line(fmt::format("clone {}: images, {}, {} to {} (base=../{})", short_base, file_of(own),
                       vmid, file_of(own), short_base));
}

awaitable<void> Volumes::copy(int vmid, Drive& drive, std::string storage, std::string format,
                              TaskLog& log) const {
  const std::string from = drive.volume;
  if (storage.empty()) storage = storage_of(from);
  if (format.empty()) format = format_of(from);
  log.line(fmt::format("create full clone of drive {} ({})", drive.name, from));
  drive.volume = reserve(storage, vmid, format);
  log.line(fmt::format("allocated target volume '{}'", drive.volume));
  co_await run_in_pool(
      services_.threads,
      [&disks = services_.vms.disks(), source = path(from), from_format = format_of(from),
       image = path(drive.volume), format] { disks.copy(source, from_format, image, format); });
}

void Volumes::turn_into_base(int vmid, Drive& drive) const {
  const fs::path old_path = path(drive.volume);
  const std::string own = fmt::format("vm-{}-", vmid);
  const std::string old_name = file_of(drive.volume);
  if (!old_name.starts_with(own)) return;
  const std::string new_name = fmt::format("base-{}-{}", vmid, old_name.substr(own.size()));
  std::error_code ignored;
  fs::remove(old_path.parent_path() / new_name, ignored);
  fs::create_hard_link(old_path, old_path.parent_path() / new_name);
  drive.volume.replace(drive.volume.size() - old_name.size(), old_name.size(), new_name);
}

void Volumes::drop_name(const std::string& volume) const {
  std::error_code ignored;
  fs::remove(path(volume), ignored);
}

awaitable<std::string> Volumes::adopt(int vmid, std::string storage, std::string format,
                                      fs::path raw) const {
  auto volume = reserve(storage, vmid, format);
  co_await run_in_pool(services_.threads,
                       [&disks = services_.vms.disks(), &raw, &format, image = path(volume)] {
                         if (format == "raw") {
                           fs::rename(raw, image);
                         } else {
                           disks.copy(raw, "raw", image, format);
                           fs::remove(raw);
                         }
                       });
  co_return volume;
}

awaitable<void> Volumes::remove(std::string volume) const {
  co_await run_in_pool(services_.threads, [image = path(volume)] {
    std::error_code ignored;
    fs::remove(image, ignored);
  });
}

awaitable<void> Volumes::resize(const Drive& drive, std::uint64_t bytes) const {
  co_await run_in_pool(
      services_.threads,
      [&disks = services_.vms.disks(), image = path(drive.volume), format = format_of(drive.volume),
       bytes] { disks.resize(image, format, bytes); });
}

}  // namespace px::node
