#include "node/backup/vm_restore.hpp"

#include "node/storage/temporary_path.hpp"
#include "node/vm/nics.hpp"
#include "support/bytes.hpp"

#include <algorithm>

namespace px::node {

namespace fs = std::filesystem;

awaitable<void> VmRestore::look(TaskLog& log) {
  log.line(fmt::format("restore vma archive: {}", request_.archive.string()));
  job_ = co_await run_in_pool(services_.threads, [archive = request_.archive] {
    return std::make_unique<ExtractJob>(archive);
  });
  const auto text = job_->header().configs.find("qemu-server.conf");
  if (text == job_->header().configs.end()) {
    throw ApiError{500, "unable to restore: the archive has no qemu-server.conf"};
  }
  config_ = parse_archived_config(text->second);
  for (const auto& name : config_.left_out) {
    log.warn(fmt::format("the local node does not offer '{}': it is left out", name));
  }
  for (const auto& drive : config_.drives) plan_disk(drive);
}

void VmRestore::plan_disk(const ArchivedDrive& drive) {
  const auto& devices = job_->header().devices;
  const auto device = std::find_if(devices.begin(), devices.end(), [&drive](const auto& item) {
    return item.second.name == drive.device;
  });
  if (device == devices.end()) {
    throw ApiError{500, fmt::format("archive does not contain data for drive '{}'", drive.name)};
  }
  Disk disk{drive, device->first};
  if (!request_.storage.empty()) {
    disk.drive.storage = request_.storage;
  } else if (disk.drive.storage.empty()) {
    disk.drive.storage = "local";
  }
  if (!services_.vms.storages().get(disk.drive.storage).holds("images")) {
    throw ApiError{500, fmt::format("Content type 'images' is not available on storage '{}'",
                                    disk.drive.storage)};
  }
  // A format that a disk can't have here (vmdk) becomes raw.
  if (disk.drive.format != "qcow2") disk.drive.format = "raw";
  disks_.push_back(std::move(disk));
}

awaitable<void> VmRestore::make(VmPtr vm, TaskLog& log) {
  const TemporaryPath work{services_.vms.storages().spool_folder() / ("restore-" + random_hex(16))};
  fs::create_directories(work.path);
  for (auto& disk : disks_) {
    disk.raw = work.path / disk.drive.name;
    job_->extract_to(disk.device, disk.raw);
  }
  co_await extract(log);
  std::map<std::string, std::string> made;
  for (const auto& disk : disks_) {
    auto volume = co_await volumes_.adopt(vm->id, disk.drive.storage, disk.drive.format, disk.raw);
    const auto bytes = job_->header().devices.at(disk.device).bytes;
    log.line(fmt::format("new volume ID is '{}'", volume));
    made[disk.drive.name] = fmt::format("{},size={}", volume, print_size(bytes));
  }
  vm->config = VmConfig{};
  vm->config.current = options_with(made);
  if (config_.is_template) {
    log.line("Convert to template.");
    vm->config.current["template"] = "1";
    std::vector<std::string> old_names;
    for (auto drive : drives_of(vm->config.current)) {
      if (!Volumes::is_own_disk(vm->id, drive)) continue;
      old_names.push_back(drive.volume);
      volumes_.turn_into_base(vm->id, drive);
      vm->config.current[drive.name] = drive.print();
    }
    services_.vms.save(*vm);
    for (const auto& name : old_names) volumes_.drop_name(name);
  }
  services_.vms.save(*vm);
}

awaitable<void> VmRestore::extract(TaskLog& log) {
  for (int told = 0; co_await run_in_pool(services_.threads, [this] { return job_->step(); });) {
    const int percent =
        job_->total() == 0 ? 100 : static_cast<int>(job_->done() * 100 / job_->total());
    if (percent / 10 == told / 10) continue;
    told = percent;
    log.line(fmt::format("progress {}% (read {} bytes)", percent, job_->done()));
  }
}

/// `volumes`: of each restored drive, its volume and size.
Options VmRestore::options_with(const std::map<std::string, std::string>& volumes) const {
  Options options = config_.options;
  for (auto drive : drives_of(options)) {
    const auto made = volumes.find(drive.name);
    if (made == volumes.end()) {
      // A disk that was not backed up; CD media are kept.
      if (!drive.is_cdrom()) options.erase(drive.name);
      continue;
    }
    const Drive own = Drive::parse(drive.name, made->second);
    drive.volume = own.volume;
    drive.properties.erase("format");
    drive.properties.set("size", own.properties.get("size"));
    options[drive.name] = drive.print();
  }
  renew(options);
  for (const auto& [name, value] : request_.overrides) options[name] = value;
  options["meta"] =
      fmt::format("creation-qemu={},ctime={}", services_.vms.qemu_version(),
                  std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()));
  return options;
}

/// What may not be the same in two VMs (qemu-server, restore_update_config_line).
void VmRestore::renew(Options& options) const {
  if (options.contains("vmgenid") && options.at("vmgenid") != "0") options["vmgenid"] = new_uuid();
  if (!request_.unique) return;
  if (options.contains("smbios1")) {
    Properties smbios{options.at("smbios1")};
    smbios.set("uuid", new_uuid());
    options["smbios1"] = smbios.print();
  }
  for (auto& [name, value] : options) {
    if (is_nic_option(name)) value = with_new_mac(value);
  }
}

}  // namespace px::node
