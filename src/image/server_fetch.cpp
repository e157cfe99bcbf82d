#include "image/server_fetch.hpp"

#include "image/download.hpp"
#include "pve/storage.hpp"
#include "pve/tasks.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <regex>

namespace px::image {

namespace {

using namespace std::chrono_literals;

/// A node without a network may take minutes to say so.
constexpr auto look_limit = 30s;
constexpr std::int64_t bytes_of_mb = 1'000'000;

/// What an import takes as a member of an OVA (pve-storage, Plugin.pm: OVA_CONTENT_RE_1).
bool is_importable_member(const RecipeDisk& disk) {
  static const std::regex name{R"([A-Za-z0-9 ._+=-]+\.(qcow2|raw|vmdk))"};
  return disk.path.empty() ||
         (disk.compression == Compression::none && std::regex_match(disk.member, name));
}

awaitable<void> fetch(pve::Client& client, ServerFetch where, WebSource what, Deadline limit) {
  const auto upid =
      co_await pve::storage::download_url(client,
                                          {where.node, where.storage, "import", where.file_name,
                                           what.url, what.checksum.algorithm(), what.checksum.hex},
                                          limit);
  bool ended = false;
  auto wait = [](pve::Client& server, const pve::Upid& task, Deadline until, std::string doing,
                 bool& done) -> awaitable<void> {
    co_await pve::wait_for_task(server, task, until, std::move(doing));
    done = true;
  };
  auto stop = [](pve::Client& server, const pve::Upid& task, const bool& done) -> awaitable<void> {
    if (!done) co_await pve::stop_task(server, task);
  };
  co_await with_cleanup(wait(client, upid, limit, "download " + what.url, ended),
                        stop(client, upid, ended));
}

}  // namespace

std::string extension_on_server(const Recipe& recipe) {
  const auto& first = recipe.disks.front();
  if (!first.member.empty()) {
    return std::ranges::all_of(recipe.disks, is_importable_member) ? "ova" : "";
  }
  const bool plain = first.compression == Compression::none;
  const bool known = first.format == DiskFormat::qcow2 || first.format == DiskFormat::raw ||
                     first.format == DiskFormat::vmdk;
  return plain && known ? std::string{name_of(first.format)} : "";
}

awaitable<std::string> fetch_on_server(pve::Client& client, ServerFetch where, WebSource what,
                                       Deadline limit) {
  std::string why;
  try {
    const auto size = co_await pve::storage::size_of_url(client, where.node, what.url,
                                                         limit.sooner(Deadline::after(look_limit)));
    log::info("{}: node {} downloads {} MB", what.url, where.node, size / bytes_of_mb);
    co_await fetch(client, std::move(where), what, limit);
    co_return why;
  } catch (const Error& error) {
    if (error.kind == Errc::cancelled) throw;
    const std::string text = error.what();
    // pve-storage, API2/Storage/Status.pm by way of pve-common, Tools.pm: download_file_from_url.
    if (const auto at = text.find("checksum mismatch"); at != std::string::npos) {
      throw Error{Errc::bad_input, fmt::format("{}: the server says: {}", what.url,
                                               text.substr(at, text.find('\n', at) - at))}
          .with_hint("The file was changed there, or the checksum is another file's.");
    }
    why = error.said;
  }
  log::info("{}: the server can't download it: {}; this machine does", what.url, why);
  co_return why;
}

}  // namespace px::image
