#include "node/storage.hpp"

#include "support/bytes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <sys/stat.h>

namespace px::node {

namespace {

namespace fs = std::filesystem;

/// The folder of a content type (pve-storage Plugin.pm, vtype_subdirs).
std::string folder_of(std::string_view content) {
  if (content == "iso") return "template/iso";
  if (content == "vztmpl") return "template/cache";
  if (content == "backup") return "dump";
  return std::string{content};
}

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
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

bool fits_content(const std::string& content, const std::string& name) {
  static const std::regex iso{R"(.+\.(iso|img))", std::regex::icase};
  static const std::regex import{R"(.+\.(ova|qcow2|raw|vmdk))"};
  static const std::regex vztmpl{R"(.+\.tar\.(gz|xz|zst))"};
  if (content == "iso") return std::regex_match(name, iso);
  if (content == "import") return std::regex_match(name, import);
  return std::regex_match(name, vztmpl);
}

std::string format_of(const fs::path& path) {
  const auto extension = lower_case(path.extension().string());
  return extension.empty() ? "raw" : extension.substr(1);
}

std::int64_t changed_at(const fs::path& path) {
  struct stat seen{};
  return ::stat(path.c_str(), &seen) == 0 ? seen.st_mtime : 0;
}

std::string file_digest(const fs::path& path) {
  std::ifstream file{path, std::ios::binary};
  std::string piece(1 << 20, '\0');
  Sha256 sum;
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0) {
    sum.update(std::string_view{piece}.substr(0, static_cast<std::size_t>(file.gcount())));
  }
  return sum.hex();
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

std::vector<json::value> Storages::list_files(const Storage& storage,
                                              const std::string& content) const {
  std::vector<json::value> out;
  const auto add = [&](const std::string& volid, const fs::path& path, const std::string& kind) {
    json::object item{{"volid", volid},
                      {"content", kind},
                      {"format", kind == "iso" ? "iso" : format_of(path)},
                      {"size", fs::file_size(path)},
                      {"ctime", changed_at(path)}};
    if (kind == "images") item["vmid"] = std::stoll(path.parent_path().filename().string());
    out.push_back(item);
  };
  for (const auto& kind : storage.content) {
    if ((!content.empty() && kind != content) || kind == "rootdir") continue;
    const auto folder = storage.folder / folder_of(kind);
    if (kind == "images") {
      for (const auto& vm : fs::directory_iterator{folder}) {
        for (const auto& file : fs::directory_iterator{vm.path()}) {
          add(fmt::format("{}:{}/{}", storage.id, vm.path().filename().string(),
                          file.path().filename().string()),
              file.path(), kind);
        }
      }
      continue;
    }
    for (const auto& file : fs::directory_iterator{folder}) {
      add(fmt::format("{}:{}/{}", storage.id, kind, file.path().filename().string()), file.path(),
          kind);
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

awaitable<json::value> Storages::configuration(Call&) {
  json::array out;
  for (const auto& storage : storages_) {
    out.push_back(json::object{{"storage", storage.id},
                               {"type", "dir"},
                               {"content", fmt::format("{}", fmt::join(storage.content, ","))},
                               {"path", storage.folder.string()}});
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

awaitable<json::value> Storages::volume(Call& call) {
  auto id = call.text("volume");
  if (id.find(':') == std::string::npos) id = call.text("storage") + ":" + id;
  const auto volume = existing(id);
  co_return json::object{{"path", volume.path.string()},
                         {"size", fs::file_size(volume.path)},
                         {"used", fs::file_size(volume.path)},
                         {"format", volume.content == "iso" ? "iso" : format_of(volume.path)}};
}

awaitable<json::value> Storages::remove(Call& call) {
  auto id = call.text("volume");
  if (id.find(':') == std::string::npos) id = call.text("storage") + ":" + id;
  const auto volume = resolve(id);
  const auto upid =
      tasks_.start("imgdel", id, call.user, [volume](TaskLog& log) -> awaitable<void> {
        std::error_code error;
        if (fs::remove(volume.path, error)) {
          log.line(fmt::format("Removed volume '{}'", volume.id));
        } else if (error) {
          throw ApiError{500, fmt::format("removing '{}': {}", volume.id, error.message())};
        } else {
          log.line(fmt::format("volume '{}' was already gone", volume.id));
        }
        co_return;
      });
  if (call.has("delay")) {
    // Long enough for the task above, which only unlinks a file: then the answer is null.
    co_await sleep_for(std::chrono::milliseconds{5});
    co_return nullptr;
  }
  co_return json::value(upid);
}

awaitable<json::value> Storages::upload(Call& call) {
  const auto& storage = get(call.text("storage"));
  const auto content = call.text("content");
  const auto spooled = *call.file;
  const auto name = clean_name(spooled.name);
  const auto refuse = [&](ApiError error) {
    fs::remove(spooled.path);
    return error;
  };
  if (!storage.holds(content)) {
    throw refuse(ApiError{
        500, fmt::format("storage '{}' does not support '{}' content", storage.id, content)});
  }
  if (name.size() > 255 || !fits_content(content, name)) {
    throw refuse(ApiError::parameter("filename", "invalid filename or wrong extension"));
  }
  if (call.has("checksum-algorithm") != call.has("checksum")) {
    throw refuse(ApiError::parameter("checksum", "checksum and checksum-algorithm go together"));
  }
  const auto wanted = lower_case(call.text_or("checksum", ""));
  if (!wanted.empty() && call.text("checksum-algorithm") != "sha256") {
    throw refuse(
        ApiError{501, fmt::format("checksum algorithm {} is not implemented by the local node",
                                  call.text("checksum-algorithm"))});
  }
  const auto target = storage.folder / folder_of(content) / name;
  const auto spool = spooled.path;
  auto work = [this, spool, target, wanted](TaskLog& log) -> awaitable<void> {
    log.line(fmt::format("target file: {}", target.string()));
    std::string digest;
    if (!wanted.empty()) digest = co_await run_in_pool(pool_, [&] { return file_digest(spool); });
    if (digest != wanted) {
      fs::remove(spool);
      throw ApiError{500,
                     fmt::format("checksum mismatch: got '{}' != expect '{}'", digest, wanted)};
    }
    fs::rename(spool, target);
    log.line("finished file import successfully");
  };
  co_return json::value(tasks_.start("imgcopy", "", call.user, std::move(work)));
}

void Storages::add_routes(Router& router) {
  const auto bind = [this](awaitable<json::value> (Storages::*handler)(Call&)) -> Handler {
    return [this, handler](Call& call) { return (this->*handler)(call); };
  };
  const Param content{.name = "content"};
  const std::string base = "/nodes/{node}/storage";
  router.add({.method = "GET",
              .path = "/storage",
              .params = {{.name = "type"}},
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
              .path = base + "/{storage}/status",
              .params = {},
              .handler = bind(&Storages::status),
              .is_protected = true});
  router.add(
      {.method = "GET",
       .path = base + "/{storage}/content",
       .params =
           {content,
            {.name = "vmid", .type = ParamType::integer, .minimum = 100, .maximum = 999'999'999}},
       .handler = bind(&Storages::content),
       .is_protected = true});
  router.add(
      {.method = "POST",
       .path = base + "/{storage}/upload",
       .params = {{.name = "content", .required = true, .one_of = {"iso", "vztmpl", "import"}},
                  {.name = "filename", .required = true, .max_length = 255},
                  {.name = "checksum"},
                  {.name = "checksum-algorithm",
                   .one_of = {"md5", "sha1", "sha224", "sha256", "sha384", "sha512"}},
                  {.name = "tmpfilename"}},
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
