#include "node/storage.hpp"

#include "support/bytes.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <memory>
#include <regex>
#include <sys/stat.h>

namespace px::node {

namespace {

using boost::algorithm::to_lower_copy;

namespace fs = std::filesystem;

/// The folder of a content type (pve-storage Plugin.pm, vtype_subdirs).
std::string folder_of(std::string_view content) {
  if (content == "iso") return "template/iso";
  if (content == "vztmpl") return "template/cache";
  if (content == "backup") return "dump";
  return std::string{content};
}

/// As the server cleans names: directories dropped, blanks and what is no ASCII replaced.
std::string clean_name(std::string_view name) {
  const auto slash = name.find_last_of("/\\");
  std::string out{slash == std::string_view::npos ? name : name.substr(slash + 1)};
  std::replace_if(
      out.begin(), out.end(),
      [](unsigned char c) { return !(std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_'); },
      '_');
  return out;
}

/// Throws ApiError 400 for a name that is not of the content (pve-storage API2/Storage/Status.pm).
void check_volume_name(const std::string& content, const std::string& name) {
  static const std::regex iso{R"(.+\.(iso|img))", std::regex::icase};
  static const std::regex import{R"(.+\.(ova|qcow2|raw|vmdk))"};
  static const std::regex vztmpl{R"(.+\.tar\.(gz|xz|zst|bz2))"};
  const auto& wanted = content == "iso" ? iso : content == "import" ? import : vztmpl;
  if (name.size() <= 255 && std::regex_match(name, wanted)) return;
  throw ApiError::parameter("filename", content == "import" ? "invalid filename or wrong extension"
                                                            : "wrong file extension");
}

std::string format_of(const fs::path& path) {
  const auto extension = to_lower_copy(path.extension().string());
  return extension.empty() ? "raw" : extension.substr(1);
}

/// `algorithm`: md5, sha1, sha224... (OpenSSL knows them by the names that the API uses).
std::string file_digest(const fs::path& path, const std::string& algorithm) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> sum{EVP_MD_CTX_new(),
                                                                    &EVP_MD_CTX_free};
  EVP_DigestInit_ex(sum.get(), EVP_get_digestbyname(algorithm.c_str()), nullptr);
  std::ifstream file{path, std::ios::binary};
  std::string piece(1 << 20, '\0');
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0) {
    EVP_DigestUpdate(sum.get(), piece.data(), static_cast<std::size_t>(file.gcount()));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  EVP_DigestFinal_ex(sum.get(), digest.data(), &length);
  return to_hex({reinterpret_cast<const char*>(digest.data()), length});
}

}  // namespace

bool Storage::holds(std::string_view what) const {
  return std::find(content.begin(), content.end(), what) != content.end();
}

Storages::Storages(fs::path directory, std::string node, Tasks& tasks, asio::thread_pool& pool)
    : node_{std::move(node)}, tasks_{tasks}, pool_{pool}, spool_{directory / "upload"} {
  storages_ = {
      {"local", {"iso", "import", "images", "vztmpl", "snippets", "backup"}, directory / "local"},
      {"local-lvm", {"images", "rootdir"}, directory / "local-lvm"}};
  for (const auto& storage : storages_) {
    for (const auto& content : storage.content) {
      fs::create_directories(storage.folder / folder_of(content));
    }
  }
  // Uploads that a dead node left half-way.
  fs::remove_all(spool_);
  fs::create_directories(spool_);
}

const Storage& Storages::get(std::string_view id) const {
  for (const auto& storage : storages_) {
    if (storage.id == id) return storage;
  }
  throw ApiError{500, fmt::format("storage '{}' does not exist", id)};
}

Volume Storages::resolve(std::string_view volume_id) const {
  const auto bad = [&] {
    return ApiError{500, fmt::format("unable to parse volume ID '{}'", volume_id)};
  };
  const auto colon = volume_id.find(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == volume_id.size()) throw bad();
  const auto& storage = get(volume_id.substr(0, colon));
  const auto rest = volume_id.substr(colon + 1);
  if (rest.find("..") != std::string_view::npos || rest.starts_with('/')) throw bad();
  Volume out{std::string{volume_id}, storage.id, "images", {}};
  for (const auto* content : {"iso", "import", "vztmpl", "snippets", "backup"}) {
    const auto prefix = std::string{content} + "/";
    if (!rest.starts_with(prefix)) continue;
    out.content = content;
    out.path = storage.folder / folder_of(content) / rest.substr(prefix.size());
    return out;
  }
  // A linked clone's id names its base first; its own file is in the last folder.
  const auto file_slash = rest.rfind('/');
  if (file_slash == std::string_view::npos) throw bad();
  const auto folder_slash = rest.rfind('/', file_slash - 1);
  const auto own = folder_slash == std::string_view::npos ? rest : rest.substr(folder_slash + 1);
  out.path = storage.folder / "images" / own;
  return out;
}

Volume Storages::existing(std::string_view volume_id) const {
  auto volume = resolve(volume_id);
  std::error_code error;
  if (!fs::is_regular_file(volume.path, error)) {
    throw ApiError{500, fmt::format("volume '{}' does not exist", volume_id)};
  }
  return volume;
}

fs::path Storages::images_folder(std::string_view storage, std::string_view vmid) const {
  const auto& found = get(storage);
  if (!found.holds("images")) {
    throw ApiError{500,
                   fmt::format("storage '{}' does not support content-type 'images'", storage)};
  }
  const auto folder = found.folder / "images" / vmid;
  fs::create_directories(folder);
  return folder;
}

json::object Storages::summary(const Storage& storage) const {
  const auto space = fs::space(storage.folder);
  return {{"storage", storage.id},
          {"type", "dir"},
          {"content", fmt::format("{}", fmt::join(storage.content, ","))},
          {"active", 1},
          {"enabled", 1},
          {"shared", 0},
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

std::vector<json::value> Storages::list_files(const Storage& storage,
                                              const std::string& content) const {
  std::vector<json::value> out;
  for (const auto& kind : storage.content) {
    if ((!content.empty() && kind != content) || kind == "rootdir") continue;
    for (const auto& path : files_of(storage.folder / folder_of(kind))) {
      const auto name = path.filename().string();
      if (kind != "images") {
        auto item = describe_file(fmt::format("{}:{}/{}", storage.id, kind, name), path, kind);
        if (!item.is_null()) out.push_back(std::move(item));
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

awaitable<json::value> Storages::list(Call& call) {
  json::array out;
  for (const auto& storage : storages_) {
    if (call.has("storage") && storage.id != call.text("storage")) continue;
    if (call.has("content") && !storage.holds(call.text("content"))) continue;
    out.push_back(summary(storage));
  }
  co_return out;
}

awaitable<json::value> Storages::configuration(Call& call) {
  const auto describe = [](const Storage& storage) {
    return json::object{{"storage", storage.id},
                        {"type", "dir"},
                        {"content", fmt::format("{}", fmt::join(storage.content, ","))},
                        {"path", storage.folder.string()}};
  };
  if (call.has("storage")) co_return describe(get(call.text("storage")));
  json::array out;
  if (call.text_or("type", "dir") == "dir") {
    for (const auto& storage : storages_) out.push_back(describe(storage));
  }
  co_return out;
}

awaitable<json::value> Storages::status(Call& call) {
  const auto& id = call.text("storage");
  for (const auto& storage : storages_) {
    if (storage.id == id) co_return summary(storage);
  }
  throw ApiError::parameter("storage", "No such storage.");
}

awaitable<json::value> Storages::content(Call& call) {
  json::array out;
  for (auto& item : list_files(get(call.text("storage")), call.text_or("content", ""))) {
    if (call.has("vmid") && json::text_or(item, "vmid") != call.text("vmid")) continue;
    out.push_back(std::move(item));
  }
  co_return out;
}

/// The volume of a path that names it with or without its storage.
Volume Storages::named(const Call& call) const {
  const auto& storage = get(call.text("storage"));
  auto id = call.text("volume");
  if (id.find(':') == std::string::npos) id = storage.id + ":" + id;
  auto volume = resolve(id);
  if (volume.storage != storage.id) {
    throw ApiError::parameter(
        "storage", fmt::format("storage ID missmatch ({} != {})", volume.storage, storage.id));
  }
  return volume;
}

awaitable<json::value> Storages::volume(Call& call) {
  const auto volume = named(call);
  struct stat seen{};
  if (::stat(volume.path.c_str(), &seen) != 0) {
    throw ApiError{500, fmt::format("volume_size_info on '{}' failed - no format", volume.id)};
  }
  constexpr std::int64_t sector = 512;
  co_return json::object{{"path", volume.path.string()},
                         {"size", (seen.st_size + sector - 1) / sector * sector},
                         {"used", seen.st_blocks * sector},
                         {"format", volume.content == "iso" ? "raw" : format_of(volume.path)}};
}

awaitable<json::value> Storages::remove(Call& call) {
  const auto volume = named(call);
  const auto folder = volume.path.parent_path().filename().string();
  const auto id = volume.content == "images" ? folder + "@" + volume.storage : volume.storage;
  auto work = [volume](TaskLog& log) -> awaitable<void> {
    std::error_code error;
    const bool was_there = fs::remove(volume.path, error);
    if (error) {
      throw ApiError{500,
                     fmt::format("unlink '{}' failed: {}", volume.path.string(), error.message())};
    }
    if (!was_there) {
      log.line(fmt::format("disk image '{}' does not exist", volume.path.string()));
    }
    log.line(fmt::format("Removed volume '{}'", volume.id));
    co_return;
  };
  const auto upid = tasks_.start("imgdel", id, call.user, std::move(work));
  if (!call.has("delay")) co_return json::value(upid);
  // The task only unlinks a file: it ends when it is let run, long before any delay.
  const auto limit = Deadline::after(std::chrono::seconds{call.number("delay")});
  while (tasks_.is_running(upid)) {
    if (limit.passed(std::chrono::steady_clock::now())) co_return json::value(upid);
    co_await sleep_for(std::chrono::milliseconds{1});
  }
  co_return nullptr;
}

awaitable<json::value> Storages::upload(Call& call) {
  const auto& storage = get(call.text("storage"));
  const auto& content = call.text("content");
  if (!storage.holds(content)) {
    throw ApiError{500,
                   fmt::format("storage '{}' does not support '{}' content", storage.id, content)};
  }
  const auto name = clean_name(call.file->name);
  check_volume_name(content, name);
  auto work = [this](UploadedFile file, fs::path target, std::string algorithm, std::string wanted,
                     TaskLog& log) -> awaitable<void> {
    log.line(fmt::format("starting file import from: {}", file.path.string()));
    if (!wanted.empty()) {
      log.line("calculating checksum...");
      const auto got =
          co_await run_in_pool(pool_, [&] { return file_digest(file.path, algorithm); });
      if (got != wanted) {
        fs::remove(file.path);
        throw ApiError{500, fmt::format("checksum mismatch: got '{}' != expect '{}'", got, wanted)};
      }
      log.lines.back() += "OK, checksum verified";
    }
    log.line(fmt::format("target node: {}", node_));
    log.line(fmt::format("target file: {}", target.string()));
    log.line(fmt::format("file size is: {}", file.size));
    // Beside the old file: who has that one open keeps its bytes.
    fs::rename(file.path, target);
    log.line("finished file import successfully");
  };
  co_return json::value(
      tasks_.start("imgcopy", "", call.user,
                   [work, file = *call.file, target = storage.folder / folder_of(content) / name,
                    algorithm = call.text_or("checksum-algorithm", ""),
                    wanted = to_lower_copy(call.text_or("checksum", ""))](TaskLog& log) {
                     return work(file, target, algorithm, wanted, log);
                   }));
}

void Storages::add_routes(Router& router) {
  const auto bind = [this](awaitable<json::value> (Storages::*handler)(Call&)) -> Handler {
    return [this, handler](Call& call) { return (this->*handler)(call); };
  };
  const Param content{.name = "content", .format = "pve-storage-content"};
  const std::string base = "/nodes/{node}/storage";
  router.add(
      {.method = "GET",
       .path = "/storage",
       .params = {{.name = "type",
                   .one_of = {"btrfs", "cephfs", "cifs", "dir", "esxi", "iscsi", "iscsidirect",
                              "lvm", "lvmthin", "nfs", "pbs", "rbd", "zfs", "zfspool"}}},
       .handler = bind(&Storages::configuration)});
  router.add({.method = "GET",
              .path = base,
              .params = {content,
                         {.name = "storage"},
                         {.name = "enabled", .type = ParamType::boolean},
                         {.name = "target"},
                         {.name = "format", .type = ParamType::boolean}},
              .handler = bind(&Storages::list),
              .is_protected = true});
  router.add({.method = "GET",
              .path = "/storage/{storage}",
              .params = {},
              .handler = bind(&Storages::configuration)});
  router.add({.method = "GET",
              .path = base + "/{storage}/status",
              .params = {},
              .handler = bind(&Storages::status),
              .is_protected = true});
  router.add({.method = "GET",
              .path = base + "/{storage}/content",
              .params = {content,
                         {.name = "vmid",
                          .type = ParamType::integer,
                          .minimum = 100,
                          .maximum = 999'999'999,
                          .format = "pve-vmid"}},
              .handler = bind(&Storages::content),
              .is_protected = true});
  router.add(
      {.method = "POST",
       .path = base + "/{storage}/upload",
       .params = {{.name = "content", .required = true, .one_of = {"iso", "vztmpl", "import"}},
                  {.name = "filename", .required = true, .max_length = 255},
                  {.name = "checksum", .needs = "checksum-algorithm"},
                  {.name = "checksum-algorithm",
                   .one_of = {"md5", "sha1", "sha224", "sha256", "sha384", "sha512"},
                   .needs = "checksum"}},
       .handler = bind(&Storages::upload),
       .is_protected = true,
       .takes_file = true});
  router.add({.method = "GET",
              .path = base + "/{storage}/content/{volume}",
              .params = {},
              .handler = bind(&Storages::volume),
              .is_protected = true});
  router.add(
      {.method = "DELETE",
       .path = base + "/{storage}/content/{volume}",
       .params = {{.name = "delay", .type = ParamType::integer, .minimum = 1, .maximum = 30}},
       .handler = bind(&Storages::remove),
       .is_protected = true});
}

}  // namespace px::node
