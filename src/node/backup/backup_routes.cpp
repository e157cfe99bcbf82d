#include "node/backup/backup_routes.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>

namespace px::node {

namespace {

BackupMode mode_of(const std::string& text) {
  if (text == "stop") return BackupMode::stop;
  return text == "suspend" ? BackupMode::suspend : BackupMode::snapshot;
}

Compression compression_of(const std::string& text) {
  if (text == "zstd") return Compression::zstd;
  if (text == "gzip") return Compression::gzip;
  if (text == "0") return Compression::none;
  throw ApiError{501, "the local node does not compress by lzo; zstd and gzip are there"};
}

int parse_vmid(const std::string& word) {
  int vmid = 0;
  const auto* const end = word.data() + word.size();
  const auto parsed = std::from_chars(word.data(), end, vmid);
  if (parsed.ec == std::errc{} && parsed.ptr == end && vmid >= 100 && vmid <= 999'999'999) {
    return vmid;
  }
  throw ApiError::parameter("vmid", "invalid format - value does not look like a valid VM ID\n");
}

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const ApiError& api) {
    return api.message;
  } catch (const Error& own) {
    return own.said;
  } catch (const std::exception& other) {
    return other.what();
  }
}

}  // namespace

void BackupRoutes::add_routes(Router& router) {
  using enum ParamType;
  const auto bind = [self = shared_from_this()](
                        awaitable<json::value> (BackupRoutes::*handler)(Call&)) -> Handler {
    return [self, handler](Call& call) { return (self.get()->*handler)(call); };
  };
  router.add({.method = "POST",
              .path = "/nodes/{node}/vzdump",
              .params = {{.name = "vmid"},
                         {.name = "all", .type = boolean},
                         {.name = "exclude"},
                         {.name = "storage", .format = "pve-storage-id"},
                         {.name = "mode", .one_of = {"snapshot", "suspend", "stop"}},
                         {.name = "compress", .one_of = {"0", "1", "gzip", "lzo", "zstd"}},
                         {.name = "notes-template", .max_length = 1024, .needs = "storage"},
                         {.name = "protected", .type = boolean, .needs = "storage"},
                         {.name = "remove", .type = boolean},
                         {.name = "stopwait", .type = integer, .minimum = 0}},
              .handler = bind(&BackupRoutes::back_up),
              .is_protected = true});
  router.add({.method = "GET",
              .path = "/nodes/{node}/vzdump/extractconfig",
              .params = {{.name = "volume", .required = true}},
              .handler = bind(&BackupRoutes::extract_config),
              .is_protected = true});
}

std::vector<int> BackupRoutes::chosen_vms(const Call& call) const {
  std::vector<int> out;
  for (const auto& word : call.words("vmid")) out.push_back(parse_vmid(word));
  if (out.empty() && !call.flag("all")) {
    throw ApiError::parameter("vmid", "property is missing and it is not optional");
  }
  if (!out.empty()) return out;
  const auto excluded = call.words("exclude");
  for (const auto& [vmid, vm] : services_.vms.all()) {
    if (std::find(excluded.begin(), excluded.end(), std::to_string(vmid)) == excluded.end()) {
      out.push_back(vmid);
    }
  }
  return out;
}

awaitable<json::value> BackupRoutes::back_up(Call& call) {
  auto vmids = chosen_vms(call);
  BackupOptions options{.mode = mode_of(call.text_or("mode", "snapshot")),
                        .compression = compression_of(call.text_or("compress", "0")),
                        .folder = {},
                        .spool = services_.vms.storages().spool_folder(),
                        .notes = call.text_or("notes-template", ""),
                        .is_protected = call.flag("protected"),
                        .stop_wait = std::chrono::minutes{call.number_or("stopwait", 10)}};
  const std::string id = vmids.size() == 1 && call.has("vmid") ? std::to_string(vmids.front()) : "";
  co_return json::value(services_.tasks.start(
      "vzdump", id, call.user,
      [self = shared_from_this(), vmids = std::move(vmids),
       storage = call.text_or("storage", "local"), options = std::move(options)](TaskLog& log) {
        return self->run(vmids, storage, options, log);
      }));
}

awaitable<void> BackupRoutes::run(std::vector<int> vmids, std::string storage,
                                  BackupOptions options, TaskLog& log) {
  const Storage* target = nullptr;
  try {
    target = &services_.vms.storages().get(storage);
  } catch (const ApiError& error) {
    throw ApiError{
        500, fmt::format("could not get storage information for '{}': {}", storage, error.message)};
  }
  if (!target->holds("backup")) {
    throw ApiError{500, fmt::format("could not get storage information for '{}': can't use storage "
                                    "'{}' for backups - wrong content type",
                                    storage, storage)};
  }
  options.folder = target->folder_of("backup");
  log.line(fmt::format("INFO: starting new backup job: vzdump {} --storage {}",
                       fmt::join(vmids, " "), storage));
  bool all_good = true;
  for (const int vmid : vmids) {
    if (!co_await back_up_one(vmid, options, log)) all_good = false;
  }
  log.line(all_good ? "INFO: Backup job finished successfully"
                    : "INFO: Backup job finished with errors");
  if (!all_good) throw ApiError{500, "job errors"};
}

/// False when it failed: the others are backed up all the same.
awaitable<bool> BackupRoutes::back_up_one(int vmid, const BackupOptions& options, TaskLog& log) {
  const auto start = std::chrono::steady_clock::now();
  std::exception_ptr failure;
  try {
    if (!services_.vms.has(vmid)) {
      throw ApiError{500, fmt::format("unable to find VM '{}'", vmid)};
    }
    log.line(fmt::format("INFO: Starting Backup of VM {} (qemu)", vmid));
    co_await back_up_vm(services_, services_.vms.at(vmid), options, log);
  } catch (...) {
    failure = std::current_exception();
    if (is_cancellation(failure)) throw;
  }
  if (failure) {
    log.line(fmt::format("ERROR: Backup of VM {} failed - {}", vmid, text_of(failure)));
    co_return false;
  }
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start)
          .count();
  log.line(fmt::format("INFO: Finished Backup of VM {} ({:02}:{:02}:{:02})", vmid, seconds / 3600,
                       seconds / 60 % 60, seconds % 60));
  co_return true;
}

awaitable<json::value> BackupRoutes::extract_config(Call& call) {
  const auto& id = call.text("volume");
  const auto volume = services_.vms.storages().resolve(id);
  if (volume.content != "backup") {
    throw ApiError{500,
                   fmt::format("unable to use volume {} - content type needs to be 'backup'", id)};
  }
  services_.vms.storages().existing(id);
  co_return co_await run_in_pool(
      services_.threads, [path = volume.path] { return json::value(read_archived_config(path)); });
}

}  // namespace px::node
