#include "node/vm/volumes.hpp"

#include "node/vm/accelerator.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>

namespace px::node {

namespace {

namespace fs = std::filesystem;

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

}  // namespace

bool Volumes::is_request(const Drive& drive) {
  return parse_request(drive.volume).has_value();
}

void Volumes::check(const Drive& drive, const ImportOptions& imports) const {
  const Storages& storages = services_.vms.storages();
  if (drive.is_empty()) return;
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
  const Storage& storage = storages.get(request->storage);
  if (!storage.holds("images")) {
    throw ApiError{500,
                   fmt::format("storage '{}' does not support content-type 'images'", storage.id)};
  }
  const std::string format = drive.properties.get("format", "raw");
  if (format != "raw" && format != "qcow2") {
    throw ApiError::parameter(drive.name, fmt::format("the local node makes raw and qcow2 disks, "
                                                      "not {}",
                                                      format));
  }
  if (!drive.properties.has("import-from")) {
    if (request->gib <= 0 && drive.bus() != "efidisk") {
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

awaitable<void> Volumes::make(int vmid, Drive& drive, ImportOptions imports, TaskLog& log) const {
  const auto request = parse_request(drive.volume);
  if (!request) co_return;
  const bool imported = drive.properties.has("import-from");
  if (drive.bus() == "efidisk" && !imported) {
    co_await make_efi_variables(vmid, drive, log);
    co_return;
  }
  std::uint64_t bytes = 0;
  if (imported) {
    bytes = co_await import(vmid, drive, std::move(imports), log);
  } else {
    const std::string format = drive.properties.get("format", "raw");
    bytes = static_cast<std::uint64_t>(request->gib * double{1U << 30});
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
  const UefiFirmware firmware = find_uefi_firmware();
  if (firmware.variables.empty()) {
    throw Error{Errc::unsupported, "EFI vars image 'OVMF_VARS_4M.fd' not found"};
  }
  // Always qcow2: a snapshot of the VM must be able to hold them.
  drive.volume = reserve(parse_request(drive.volume)->storage, vmid, "qcow2");
  co_await run_in_pool(services_.threads,
                       [&disks = services_.vms.disks(), from = firmware.variables,
                        image = path(drive.volume)] { disks.copy(from, "raw", image, "qcow2"); });
  drive.properties.erase("format");
  drive.properties.set("size", "528K");
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
