#pragma once
#include "pve/body_source.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

/// Storages of a node: /nodes/{node}/storage.
namespace px::pve::storage {

struct StorageSummary {
  StorageId id;
  std::string type;                  ///< dir, lvmthin, zfspool...
  std::vector<std::string> content;  ///< images, iso, import...
  bool active = false;
  bool enabled = false;
  bool shared = false;
  std::int64_t total = 0;      ///< bytes
  std::int64_t available = 0;  ///< bytes
  bool holds(std::string_view content_type) const noexcept;
};
awaitable<std::vector<StorageSummary>> list(Client& client, NodeName node);

struct Volume {
  VolumeId id;
  std::string content;
  std::string format;
  std::int64_t size = 0;  ///< bytes
  std::optional<Vmid> vmid;
  std::int64_t created = 0;  ///< seconds since 1970, 0 = unknown
};
/// `content`: iso, import, images...; empty = all.
awaitable<std::vector<Volume>> content(Client& client, NodeName node, StorageId storage,
                                       std::string content_type);

/// Where a volume lies on its node: a file's path, or a block device's.
awaitable<std::string> path_of(Client& client, NodeName node, VolumeId volume);

/// Starts to remove a volume; wait_for_task() when it matters that it is gone. One that isn't there
/// is fine, so the call is repeated when its answer is lost.
awaitable<Upid> delete_volume(Client& client, NodeName node, VolumeId volume, Deadline deadline);

struct Upload {
  NodeName node;
  StorageId storage;
  std::string content;    ///< iso, import, vztmpl
  std::string file_name;  ///< [A-Za-z0-9._-], 1..255, with an extension that fits the content
  std::string sha256{};   ///< hexadecimal; checked by the server when given
  std::function<void(std::uint64_t sent, std::uint64_t size)> progress{};
};
/// Streams a file to a storage in constant memory and returns the UPID of the task that puts it in
/// place: nothing may use the file before that task has ended (pve-facts section 10a). An
/// existing file of that name is replaced silently. When the answer is lost the upload is repeated
/// once: the same bytes under the same name do no harm.
awaitable<Upid> upload(Client& client, Upload what, BodySource& source, Deadline deadline);

/// A file that the server fetches by itself.
struct UrlDownload {
  NodeName node;
  StorageId storage;
  std::string content;             ///< iso, import, vztmpl
  std::string file_name;           ///< as in Upload
  std::string url;                 ///< http or https; certificates are checked
  std::string checksum_algorithm;  ///< sha256, sha512
  std::string checksum;            ///< hexadecimal
};
/// Bytes behind a URL, as the node sees them; 0 when its server doesn't say. Errc::server: the node
/// can't reach it. Takes the same rights as download_url().
awaitable<std::int64_t> size_of_url(Client& client, NodeName node, std::string url,
                                    Deadline deadline);
/// Starts to download a file on the server itself; the task's end says whether it came whole. It
/// fails when there is a file of that name (pve-facts section 10), so it is sent once.
/// Errc::forbidden: it takes Sys.Audit and Sys.Modify, or Sys.AccessNetwork.
awaitable<Upid> download_url(Client& client, UrlDownload what, Deadline deadline);

/// For a hint where no storage of a node takes files of a content type (iso, import).
std::string how_to_take(std::string_view content_type);

/// The volume an upload makes: `local:iso/a.iso`.
VolumeId volume_of(const Upload& what);

}  // namespace px::pve::storage
