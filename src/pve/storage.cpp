#include "pve/storage.hpp"

#include "pve/once.hpp"
#include "pve/qemu.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::pve::storage {

namespace {

/// multipart/form-data (RFC 7578) around a source. The server reads the fields that stand before
/// the file, whose part must be named `filename` (pve-facts section 10).
class Multipart final : public BodySource {
 public:
  Multipart(const Upload& what, BodySource& file)
      : file_{file}, progress_{what.progress}, boundary_{"----" + random_hex(32)} {
    head_ += field("content", what.content);
    if (!what.sha256.empty()) {
      head_ += field("checksum-algorithm", "sha256") + field("checksum", what.sha256);
    }
    head_ += fmt::format(
        "--{}\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"{}\"\r\n"
        "Content-Type: application/octet-stream\r\n\r\n",
        boundary_, what.file_name);
    tail_ = fmt::format("\r\n--{}--\r\n", boundary_);
  }

  std::string content_type() const {
    return fmt::format("multipart/form-data; boundary={}", boundary_);
  }

  std::uint64_t size() const override { return head_.size() + file_.size() + tail_.size(); }

  void rewind() override {
    head_sent_ = tail_sent_ = 0;
    file_sent_ = 0;
    file_.rewind();
  }

  awaitable<std::size_t> read(std::span<char> room) override {
    if (head_sent_ < head_.size()) co_return copy(head_, head_sent_, room);
    if (file_sent_ < file_.size()) {
      const auto count = co_await file_.read(room);
      file_sent_ += count;
      if (progress_) progress_(file_sent_, file_.size());
      co_return count;
    }
    co_return copy(tail_, tail_sent_, room);
  }

 private:
  std::string field(std::string_view name, std::string_view value) const {
    return fmt::format("--{}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{}\r\n",
                       boundary_, name, value);
  }

  static std::size_t copy(const std::string& from, std::size_t& sent, std::span<char> room) {
    const auto count = from.copy(room.data(), room.size(), sent);
    sent += count;
    return count;
  }

  BodySource& file_;
  std::function<void(std::uint64_t, std::uint64_t)> progress_;
  std::string boundary_;
  std::string head_;
  std::string tail_;
  std::size_t head_sent_ = 0;
  std::uint64_t file_sent_ = 0;
  std::size_t tail_sent_ = 0;
};

/// The server cleans other names silently, and some it refuses only after the whole upload.
void check_file_name(std::string_view name) {
  const bool is_fine = !name.empty() && name.size() <= 255 && name.front() != '.' &&
                       std::ranges::all_of(name, [](char c) {
                         return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
                       });
  if (!is_fine) {
    throw_bad_input("file name", name,
                    "an upload's name is 1 to 255 of [A-Za-z0-9._-], not beginning with a dot");
  }
}

std::vector<std::string> split_content(std::string_view text) {
  return qemu::split_tags(text);
}

}  // namespace

bool StorageSummary::holds(std::string_view content_type) const noexcept {
  return std::ranges::find(content, content_type) != content.end();
}

awaitable<std::vector<StorageSummary>> list(Client& client, NodeName node) {
  const auto data = co_await client.get(fmt::format("/nodes/{}/storage", node));
  std::vector<StorageSummary> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    out.push_back({.id = StorageId::parse(json::text_at(entry, "storage")),
                   .type = json::text_or(entry, "type"),
                   .content = split_content(json::text_or(entry, "content")),
                   .active = json::flag_or(entry, "active", false),
                   .enabled = json::flag_or(entry, "enabled", false),
                   .shared = json::flag_or(entry, "shared", false),
                   .total = json::number_or(entry, "total", 0),
                   .available = json::number_or(entry, "avail", 0)});
  }
  co_return out;
}

awaitable<std::vector<Volume>> content(Client& client, NodeName node, StorageId storage,
                                       std::string content_type) {
  const auto data =
      co_await client.get(fmt::format("/nodes/{}/storage/{}/content", node, storage),
                          Params{}.add_if(!content_type.empty(), "content", content_type));
  std::vector<Volume> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    Volume volume{.id = VolumeId::parse(json::text_at(entry, "volid")),
                  .content = json::text_or(entry, "content"),
                  .format = json::text_or(entry, "format"),
                  .size = json::number_or(entry, "size", 0),
                  .vmid = {},
                  .created = json::number_or(entry, "ctime", 0)};
    const auto vmid = json::number_or(entry, "vmid", 0);
    if (vmid != 0) volume.vmid = Vmid::from_number(vmid);
    out.push_back(std::move(volume));
  }
  co_return out;
}

awaitable<std::string> path_of(Client& client, NodeName node, VolumeId volume) {
  const auto data = co_await client.get(fmt::format(
      "/nodes/{}/storage/{}/content/{}", node, volume.storage(), percent_encode(volume.text())));
  co_return json::text_at(data, "path");
}

awaitable<Upid> delete_volume(Client& client, NodeName node, VolumeId volume, Deadline deadline) {
  const auto data =
      co_await client.del(fmt::format("/nodes/{}/storage/{}/content/{}", node, volume.storage(),
                                      percent_encode(volume.text())),
                          {},
                          {.deadline = deadline,
                           .repeatable = true,
                           .wait_for_lock = true,
                           .doing = fmt::format("delete {}", volume)});
  if (!data.is_string()) throw Error{Errc::protocol, "the answer to a delete names no task"};
  auto upid = Upid::parse(std::string_view{data.get_string()});
  client.remember(upid);
  co_return upid;
}

awaitable<Upid> upload(Client& client, Upload what, BodySource& source, Deadline deadline) {
  check_file_name(what.file_name);
  const auto path = fmt::format("/nodes/{}/storage/{}/upload", what.node, what.storage);
  const CallOptions options{
      .deadline = deadline,
      // The body is received by the front server; a worker sees only the finished file.
      .load = Load::light,
      .doing = fmt::format("upload {} to {} on {}", what.file_name, what.storage, what.node)};
  Multipart body{what, source};
  json::value data;
  for (int sends = 1;; ++sends) {
    try {
      data = co_await client.post_stream(path, body.content_type(), body, options);
      break;
    } catch (const Error& e) {
      if (!answer_was_lost(e) || sends == 2) throw;
      log::debug("{}: {}; once more", options.doing, e.said);
    }
  }
  if (!data.is_string()) throw Error{Errc::protocol, "the answer to an upload names no task"};
  auto upid = Upid::parse(std::string_view{data.get_string()});
  client.remember(upid);
  co_return upid;
}

awaitable<std::int64_t> size_of_url(Client& client, NodeName node, std::string url,
                                    Deadline deadline) {
  const auto data =
      co_await client.get(fmt::format("/nodes/{}/query-url-metadata", node),
                          Params{}.add("url", url).add("verify-certificates", true),
                          {.deadline = deadline, .doing = fmt::format("look at {}", url)});
  co_return json::number_or(data, "size", 0);
}

awaitable<Upid> download_url(Client& client, UrlDownload what, Deadline deadline) {
  check_file_name(what.file_name);
  Params params;
  params.add("content", what.content)
      .add("filename", what.file_name)
      .add("url", what.url)
      .add("checksum-algorithm", what.checksum_algorithm)
      .add("checksum", what.checksum)
      .add("verify-certificates", true);
  const auto data = co_await client.post(
      fmt::format("/nodes/{}/storage/{}/download-url", what.node, what.storage), std::move(params),
      {.deadline = deadline, .doing = fmt::format("download {} to {}", what.url, what.storage)});
  if (!data.is_string()) throw Error{Errc::protocol, "the answer to a download names no task"};
  auto upid = Upid::parse(std::string_view{data.get_string()});
  client.remember(upid);
  co_return upid;
}

std::string how_to_take(std::string_view content_type) {
  return fmt::format(
      "Add the content type `{}` to one of type dir, for example: "
      "pvesm set local --content iso,vztmpl,backup,import",
      content_type);
}

VolumeId volume_of(const Upload& what) {
  return VolumeId::of(what.storage, what.content + "/" + what.file_name);
}

}  // namespace px::pve::storage
