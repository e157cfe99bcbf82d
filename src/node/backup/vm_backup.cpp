#include "node/backup/vm_backup.hpp"

#include "node/storage/backup_files.hpp"
#include "node/storage/temporary_path.hpp"
#include "node/vm/volumes.hpp"
#include "support/bytes.hpp"

#include <boost/algorithm/string/replace.hpp>

#include <algorithm>
#include <fstream>

namespace px::node {

namespace {

namespace fs = std::filesystem;

std::string suffix_of(Compression compression) {
  switch (compression) {
    case Compression::none:
      return ".vma";
    case Compression::gzip:
      return ".vma.gz";
    case Compression::zstd:
      return ".vma.zst";
  }
  return {};
}

std::string_view name_of(BackupMode mode) {
  switch (mode) {
    case BackupMode::snapshot:
      return "snapshot";
    case BackupMode::suspend:
      return "suspend";
    case BackupMode::stop:
      return "stop";
  }
  return {};
}

void info(TaskLog& log, std::string text) {
  log.line("INFO: " + std::move(text));
}

/// The variables that Proxmox VE fills in (its vzdump manual, "Backup Notes").
std::string fill_notes(std::string notes, const Vm& vm, const std::string& node) {
  const std::pair<const char*, std::string> variables[] = {
      {"{{vmid}}", std::to_string(vm.id)},
      {"{{guestname}}", option_or(vm.config.current, "name", fmt::format("VM {}", vm.id))},
      {"{{node}}", node},
      {"{{cluster}}", "standalone node"},
      {"\\n", "\n"}};
  for (const auto& [name, value] : variables) boost::algorithm::replace_all(notes, name, value);
  return notes;
}

class VmBackup {
 public:
  VmBackup(const VmServices& services, VmPtr vm, BackupOptions options, TaskLog& log)
      : services_{services},
        vm_{std::move(vm)},
        options_{std::move(options)},
        log_{log},
        work_{options_.spool / ("backup-" + random_hex(16))} {
    fs::create_directories(work_.path);
  }

  awaitable<void> run() {
    choose_disks();
    const auto config = print_archived_config(vm_->config.current, mapped_);
    if (vm_->machine->status().running) {
      co_await copy_running();
    } else {
      info(log_, "backup mode: stop");
      co_await copy_stopped();
    }
    co_await write_archive(config);
  }

 private:
  /// What goes into the archive, and what does not.
  void choose_disks() {
    info(log_, fmt::format("status = {}", vm_->machine->status().running ? "running" : "stopped"));
    info(log_, fmt::format("VM Name: {}", option_or(vm_->config.current, "name")));
    for (const auto& drive : drives_of(vm_->config.current)) {
      if (drive.is_cdrom()) continue;
      if (!is_archived(drive)) {
        info(log_, fmt::format("exclude disk '{}' '{}' (backup=no)", drive.name, drive.volume));
        continue;
      }
      const auto volume = services_.vms.storages().existing(drive.volume);
      info(log_, fmt::format("include disk '{}' '{}' {}", drive.name, drive.volume,
                             drive.properties.get("size")));
      drives_.push_back(drive);
      mapped_.push_back(
          {drive.name, "drive-" + drive.name, volume.storage, Volumes::format_of(drive.volume)});
    }
  }

  fs::path path(const Drive& drive) const {
    return services_.vms.storages().existing(drive.volume).path;
  }

  /// The virtual size; a simulated disk has only the one that its drive says.
  awaitable<std::uint64_t> size_of(const Drive& drive) const {
    const auto format = Volumes::format_of(drive.volume);
    const auto bytes = co_await run_in_pool(
        services_.threads, [&disks = services_.vms.disks(), image = path(drive), &format] {
          return disks.size(image, format);
        });
    co_return std::max(bytes, parse_size(drive.properties.get("size")).value_or(0));
  }

  /// Of a VM that nobody can start meanwhile. A raw disk is read where it is.
  awaitable<void> copy_stopped() {
    for (const auto& drive : drives_) {
      ArchivedDisk disk{drive.name, path(drive), co_await size_of(drive)};
      const auto format = Volumes::format_of(drive.volume);
      if (format != "raw") {
        disk.raw = work_.path / drive.name;
        co_await run_in_pool(services_.threads,
                             [&disks = services_.vms.disks(), image = path(drive), &format,
                              raw = disk.raw] { disks.copy(image, format, raw, "raw"); });
      }
      disks_.push_back(std::move(disk));
    }
  }

  awaitable<void> copy_running() {
    info(log_, fmt::format("backup mode: {}", name_of(options_.mode)));
    switch (options_.mode) {
      case BackupMode::snapshot:
        co_await copy_moment();
        break;
      case BackupMode::suspend:
        info(log_, "suspending guest");
        co_await vm_->machine->suspend();
        co_await with_cleanup(copy_moment(), vm_->machine->resume());
        break;
      case BackupMode::stop:
        co_await with_cleanup(stop_and_copy(), start_again());
        break;
    }
  }

  awaitable<void> copy_moment() {
    std::map<std::string, fs::path> targets;
    for (const auto& drive : drives_) {
      const ArchivedDisk disk{drive.name, work_.path / drive.name, co_await size_of(drive)};
      const std::ofstream created{disk.raw};
      fs::resize_file(disk.raw, disk.bytes);
      targets[drive.name] = disk.raw;
      disks_.push_back(disk);
    }
    if (!targets.empty()) co_await vm_->machine->copy_disks(std::move(targets));
  }

  awaitable<void> stop_and_copy() {
    info(log_, "stopping virtual guest");
    bool ended = true;
    try {
      co_await vm_->machine->shutdown(Deadline::after(options_.stop_wait));
    } catch (const Error& error) {
      if (error.kind != Errc::timeout) throw;
      ended = false;
    }
    if (!ended) co_await vm_->machine->stop();
    // All of it: the guest starts again before the archive is written.
    for (const auto& drive : drives_) {
      const ArchivedDisk disk{drive.name, work_.path / drive.name, co_await size_of(drive)};
      const auto format = Volumes::format_of(drive.volume);
      co_await run_in_pool(services_.threads,
                           [&disks = services_.vms.disks(), image = path(drive), &format, &disk] {
                             disks.copy(image, format, disk.raw, "raw");
                           });
      disks_.push_back(disk);
    }
  }

  awaitable<void> start_again() {
    if (vm_->machine->status().running) co_return;
    info(log_, "restarting vm");
    co_await services_.power_on(vm_, log_);
  }

  awaitable<void> write_archive(const std::string& config) {
    const auto suffix = suffix_of(options_.compression);
    auto ctime = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    // A name lasts for a second.
    while (fs::exists(options_.folder / make_archive_name(vm_->id, ctime, suffix))) ++ctime;
    const auto target = options_.folder / make_archive_name(vm_->id, ctime, suffix);
    info(log_, fmt::format("creating vzdump archive '{}'", target.string()));
    const auto half = work_.path / "archive";
    ArchiveJob job{half, options_.compression, ctime, config, disks_};
    for (int told = 0; co_await run_in_pool(services_.threads, [&job] { return job.step(); });) {
      const int percent = job.total() == 0 ? 100 : static_cast<int>(job.done() * 100 / job.total());
      if (percent / 10 == told / 10) continue;
      told = percent;
      info(log_, fmt::format("{:3}% ({} of {} bytes)", percent, job.done(), job.total()));
    }
    info(log_, fmt::format("archive file size: {} bytes", fs::file_size(half)));
    if (!options_.notes.empty()) {
      set_notes(target, fill_notes(options_.notes, *vm_, services_.vms.node()));
    }
    if (options_.is_protected) set_protected(target, true);
    fs::rename(half, target);
  }

  const VmServices& services_;
  VmPtr vm_;
  BackupOptions options_;
  TaskLog& log_;
  TemporaryPath work_;
  std::vector<Drive> drives_;
  std::vector<ArchivedDrive> mapped_;
  std::vector<ArchivedDisk> disks_;
};

/// `lock: backup`, as long as the backup takes: others are told so instead of waiting.
awaitable<void> lock_for_backup(const VmServices& services, VmPtr vm) {
  const auto permit = co_await services.vms.lock(vm);
  Vms::check_config_lock(*vm);
  vm->config.current["lock"] = "backup";
  services.vms.save(*vm);
}

awaitable<void> unlock(const VmServices& services, VmPtr vm) {
  vm->config.current.erase("lock");
  services.vms.save(*vm);
  co_return;
}

}  // namespace

awaitable<void> back_up_vm(const VmServices& services, VmPtr vm, BackupOptions options,
                           TaskLog& log) {
  co_await lock_for_backup(services, vm);
  VmBackup backup{services, vm, std::move(options), log};
  co_await with_cleanup(backup.run(), unlock(services, vm));
}

}  // namespace px::node
