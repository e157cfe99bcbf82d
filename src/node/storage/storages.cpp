#include "node/storage/storages.hpp"

#include <algorithm>
#include <charconv>

namespace px::node {

namespace {

namespace fs = std::filesystem;

}  // namespace

bool Storage::holds(std::string_view what) const {
  return std::find(content.begin(), content.end(), what) != content.end();
}

fs::path Storage::folder_of(std::string_view what) const {
  // pve-storage Plugin.pm, vtype_subdirs.
  if (what == "iso") return folder / "template/iso";
  if (what == "vztmpl") return folder / "template/cache";
  if (what == "backup") return folder / "dump";
  return folder / what;
}

int Volume::owner() const {
  if (content != "images") return 0;
  const auto name = path.parent_path().filename().string();
  int vmid = 0;
  std::from_chars(name.data(), name.data() + name.size(), vmid);
  return vmid;
}

Storages::Storages(fs::path directory, fs::path shared) : spool_{directory / "upload"} {
  const std::vector<std::string> files{"iso", "import", "images", "vztmpl", "snippets", "backup"};
  storages_ = {{"local", files, directory / "local"},
               {"local-lvm", {"images", "rootdir"}, directory / "local-lvm"}};
  if (!shared.empty()) storages_.push_back({"shared", files, std::move(shared), true});
  for (const auto& storage : storages_) {
    for (const auto& content : storage.content) {
      fs::create_directories(storage.folder_of(content));
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
    out.path = storage.folder_of(content) / rest.substr(prefix.size());
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

bool Storages::is_shared(std::string_view volume_id) const {
  return get(volume_id.substr(0, volume_id.find(':'))).shared;
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

}  // namespace px::node
