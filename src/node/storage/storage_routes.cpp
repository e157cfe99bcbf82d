#include "node/storage/storage_routes.hpp"

#include "node/storage/backup_files.hpp"
#include "node/storage/ova.hpp"

#include <boost/algorithm/string/case_conv.hpp>

#include <algorithm>
#include <sys/stat.h>

namespace px::node {

namespace {

using boost::algorithm::to_lower_copy;

namespace fs = std::filesystem;

std::string format_of(const fs::path& path) {
  const auto extension = to_lower_copy(path.extension().string());
  return extension.empty() ? "raw" : extension.substr(1);
}

}  // namespace

json::object StorageRoutes::summary(const Storage& storage) const {
  const auto space = fs::space(storage.folder);
  return {{"storage", storage.id},
          {"type", "dir"},
          {"content", fmt::format("{}", fmt::join(storage.content, ","))},
          {"active", 1},
          {"enabled", 1},
          {"shared", storage.shared ? 1 : 0},
          {"total", space.capacity},
          {"used", space.capacity - space.free},
          {"avail", space.available}};
}

namespace {

/// The files of a folder, by name; none when it went away meanwhile.
std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator it{folder, error}, end; !error && it != end; it.increment(error)) {
    out.push_back(it->path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// What an archive's name and the files beside it say.
void add_archive(const fs::path& path, const ArchiveName& name, json::object& out) {
  out["format"] = name.format;
  out["subtype"] = "qemu";
  out["vmid"] = name.vmid;
  out["ctime"] = name.ctime;
  add_attributes(path, out);
}

/// An entry of a content list; null for what is no file (any more).
json::value describe_file(std::string volid, const fs::path& path, const std::string& content) {
  struct stat seen{};
  if (::stat(path.c_str(), &seen) != 0 || !S_ISREG(seen.st_mode)) return nullptr;
  return json::object{{"volid", std::move(volid)},
                      {"content", content},
                      {"format", content == "iso" ? "iso" : format_of(path)},
                      {"size", seen.st_size},
                      {"used", seen.st_blocks * 512},
                      {"ctime", seen.st_mtime}};
}

}  // namespace

std::vector<json::value> StorageRoutes::list_files(const Storage& storage,
                                                   const std::string& content) const {
  std::vector<json::value> out;
  for (const auto& kind : storage.content) {
    if ((!content.empty() && kind != content) || kind == "rootdir") continue;
    for (const auto& path : files_of(storage.folder_of(kind))) {
      const auto name = path.filename().string();
      if (kind != "images") {
        const auto archive = kind == "backup" ? parse_archive_name(name) : std::nullopt;
        if (kind == "backup" && !archive) continue;
        auto item = describe_file(fmt::format("{}:{}/{}", storage.id, kind, name), path, kind);
        if (item.is_null()) continue;
        if (archive) add_archive(path, *archive, item.as_object());
        out.push_back(std::move(item));
        continue;
      }
      for (const auto& file : files_of(path)) {
        auto item = describe_file(
            fmt::format("{}:{}/{}", storage.id, name, file.filename().string()), file, kind);
        if (item.is_null()) continue;
        item.as_object()["vmid"] = std::atoi(name.c_str());
        out.push_back(std::move(item));
      }
    }
  }
  return out;
}

awaitable<json::value> StorageRoutes::list(Call& call) {
  json::array out;
  for (const auto& storage : services_.storages.all()) {
    if (call.has("storage") && storage.id != call.text("storage")) continue;
    if (call.has("content") && !storage.holds(call.text("content"))) continue;
    out.push_back(summary(storage));
  }
  co_return out;
}

awaitable<json::value> StorageRoutes::configuration(Call& call) {
  const auto describe = [](const Storage& storage) {
    json::object out{{"storage", storage.id},
                     {"type", "dir"},
                     {"content", fmt::format("{}", fmt::join(storage.content, ","))},
                     {"path", storage.folder.string()}};
    if (storage.shared) out["shared"] = 1;
    return out;
  };
  if (call.has("storage")) co_return describe(services_.storages.get(call.text("storage")));
  json::array out;
  if (call.text_or("type", "dir") == "dir") {
    for (const auto& storage : services_.storages.all()) out.push_back(describe(storage));
  }
  co_return out;
}

awaitable<json::value> StorageRoutes::status(Call& call) {
  const auto& id = call.text("storage");
  for (const auto& storage : services_.storages.all()) {
    if (storage.id == id) co_return summary(storage);
  }
  throw ApiError::parameter("storage", "No such storage.");
}

awaitable<json::value> StorageRoutes::content(Call& call) {
  json::array out;
  for (auto& item :
       list_files(services_.storages.get(call.text("storage")), call.text_or("content", ""))) {
    if (call.has("vmid") && json::text_or(item, "vmid") != call.text("vmid")) continue;
    out.push_back(std::move(item));
  }
  co_return out;
}

/// The volume of a path that names it with or without its storage.
Volume StorageRoutes::named(const Call& call) const {
  const auto& storage = services_.storages.get(call.text("storage"));
  auto id = call.text("volume");
  if (id.find(':') == std::string::npos) id = storage.id + ":" + id;
  auto volume = services_.storages.resolve(id);
  if (volume.storage != storage.id) {
    throw ApiError::parameter(
        "storage", fmt::format("storage ID missmatch ({} != {})", volume.storage, storage.id));
  }
  return volume;
}

awaitable<json::value> StorageRoutes::volume(Call& call) {
  const auto volume = named(call);
  struct stat seen{};
  if (::stat(volume.path.c_str(), &seen) != 0) {
    throw ApiError{500, fmt::format("volume_size_info on '{}' failed - no format", volume.id)};
  }
  constexpr std::int64_t sector = 512;
  json::object out{{"path", volume.path.string()},
                   {"size", (seen.st_size + sector - 1) / sector * sector},
                   {"used", seen.st_blocks * sector},
                   {"format", volume.content == "iso" ? "raw" : format_of(volume.path)}};
  if (volume.content == "backup") {
    if (const auto name = parse_archive_name(volume.path.filename().string())) {
      out["format"] = name->format;
    }
    add_attributes(volume.path, out);
  }
  co_return out;
}

awaitable<json::value> StorageRoutes::import_metadata(Call& call) {
  const auto& storage = services_.storages.get(call.text("storage"));
  const auto& name = call.text("volume");
  if (name.find(':') != std::string::npos) {
    throw ApiError{500, fmt::format("unable to parse directory volume name '{}'", name)};
  }
  const auto volume = services_.storages.resolve(storage.id + ":" + name);
  if (volume.content != "import") {
    throw ApiError{500, fmt::format("invalid content type '{}'", volume.content)};
  }
  if (format_of(volume.path) != "ova") throw ApiError{500, "invalid format"};
  co_return co_await run_in_pool(
      services_.threads, [&volume] { return json::value(describe_ova(volume.path, volume.id)); });
}

awaitable<json::value> StorageRoutes::update(Call& call) {
  const auto volume = services_.storages.existing(named(call).id);
  for (const auto* attribute : {"notes", "protected"}) {
    if (call.has(attribute) && volume.content != "backup") {
      throw ApiError{
          500, fmt::format("attribute '{}' is not supported for storage type 'dir'", attribute)};
    }
  }
  if (call.has("notes")) set_notes(volume.path, call.text("notes"));
  if (call.has("protected")) set_protected(volume.path, call.flag("protected"));
  co_return nullptr;
}

awaitable<json::value> StorageRoutes::remove(Call& call) {
  const auto volume = named(call);
  const auto folder = volume.path.parent_path().filename().string();
  const auto id = volume.content == "images" ? folder + "@" + volume.storage : volume.storage;
  auto work = [volume](TaskLog& log) -> awaitable<void> {
    if (volume.content == "backup" && is_protected(volume.path)) {
      throw ApiError{500,
                     fmt::format("cannot remove protected archive '{}'", volume.path.string())};
    }
    std::error_code error;
    const bool was_there = fs::remove(volume.path, error);
    if (error) {
      throw ApiError{500,
                     fmt::format("unlink '{}' failed: {}", volume.path.string(), error.message())};
    }
    if (!was_there) {
      log.line(fmt::format("disk image '{}' does not exist", volume.path.string()));
    }
    if (volume.content == "backup") remove_attributes(volume.path);
    log.line(fmt::format("Removed volume '{}'", volume.id));
    co_return;
  };
  const auto upid = services_.tasks.start("imgdel", id, call.user, std::move(work));
  if (!call.has("delay")) co_return json::value(upid);
  // The task only unlinks a file: it ends when it is let run, long before any delay.
  const auto limit = Deadline::after(std::chrono::seconds{call.number("delay")});
  while (services_.tasks.is_running(upid)) {
    if (limit.passed(std::chrono::steady_clock::now())) co_return json::value(upid);
    co_await sleep_for(std::chrono::milliseconds{1});
  }
  co_return nullptr;
}

void StorageRoutes::add_routes(Router& router) {
  const auto bind = [self = shared_from_this()](
                        awaitable<json::value> (StorageRoutes::*handler)(Call&)) -> Handler {
    return [self, handler](Call& call) { return (self.get()->*handler)(call); };
  };
  const Param content{.name = "content", .format = "pve-storage-content"};
  const std::string base = "/nodes/{node}/storage";
  router.add(
      {.method = "GET",
       .path = "/storage",
       .params = {{.name = "type",
                   .one_of = {"btrfs", "cephfs", "cifs", "dir", "esxi", "iscsi", "iscsidirect",
                              "lvm", "lvmthin", "nfs", "pbs", "rbd", "zfs", "zfspool"}}},
       .handler = bind(&StorageRoutes::configuration)});
  router.add({.method = "GET",
              .path = base,
              .params = {content,
                         {.name = "storage"},
                         {.name = "enabled", .type = ParamType::boolean},
                         {.name = "target"},
                         {.name = "format", .type = ParamType::boolean}},
              .handler = bind(&StorageRoutes::list),
              .is_protected = true});
  router.add({.method = "GET",
              .path = "/storage/{storage}",
              .params = {},
              .handler = bind(&StorageRoutes::configuration)});
  router.add({.method = "GET",
              .path = base + "/{storage}/status",
              .params = {},
              .handler = bind(&StorageRoutes::status),
              .is_protected = true});
  router.add({.method = "GET",
              .path = base + "/{storage}/import-metadata",
              .params = {{.name = "volume", .required = true}},
              .handler = bind(&StorageRoutes::import_metadata),
              .is_protected = true});
  router.add({.method = "GET",
              .path = base + "/{storage}/content",
              .params = {content,
                         {.name = "vmid",
                          .type = ParamType::integer,
                          .minimum = 100,
                          .maximum = 999'999'999,
                          .format = "pve-vmid"}},
              .handler = bind(&StorageRoutes::content),
              .is_protected = true});
  router.add({.method = "GET",
              .path = base + "/{storage}/content/{volume}",
              .params = {},
              .handler = bind(&StorageRoutes::volume),
              .is_protected = true});
  router.add({.method = "PUT",
              .path = base + "/{storage}/content/{volume}",
              .params = {{.name = "notes"}, {.name = "protected", .type = ParamType::boolean}},
              .handler = bind(&StorageRoutes::update),
              .is_protected = true});
  router.add(
      {.method = "DELETE",
       .path = base + "/{storage}/content/{volume}",
       .params = {{.name = "delay", .type = ParamType::integer, .minimum = 1, .maximum = 30}},
       .handler = bind(&StorageRoutes::remove),
       .is_protected = true});
}

}  // namespace px::node
