#include "image/bake.hpp"

#include "image/claim.hpp"
#include "image/download.hpp"
#include "image/first_boot.hpp"
#include "image/install_medium.hpp"
#include "image/prepared_disk.hpp"
#include "image/progress.hpp"
#include "image/server_fetch.hpp"
#include "pve/backup.hpp"
#include "pve/nodes.hpp"
#include "pve/qemu.hpp"
#include "pve/storage.hpp"
#include "pve/tasks.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <regex>

namespace px::image {

namespace {

using namespace std::chrono_literals;

/// A hundred gigabytes over a slow line.
constexpr auto longest_bake = 24h;
constexpr std::uint64_t gib = 1ULL << 30;

struct Places {
  pve::StorageId images;                ///< of the template's disks
  pve::StorageId uploads;               ///< of the files that they are imported from
  std::optional<pve::StorageId> media;  ///< of seeds
  /// Where the server may unpack a member of an OVA, if it has such a place.
  std::optional<pve::StorageId> unpacking;
};

/// A member of an OVA is unpacked to a directory that takes images (qemu-server, GuestImport.pm).
bool can_unpack(const pve::storage::StorageSummary& storage) {
  static constexpr std::array<std::string_view, 4> file_based{"dir", "nfs", "cifs", "btrfs"};
  return storage.active && storage.holds("images") &&
         std::ranges::find(file_based, storage.type) != file_based.end();
}

/// The storages, with room for what comes. Before anything is made.
awaitable<Places> find_places(pve::Client& client, const Kitchen& kitchen, const Recipe& recipe) {
  std::uint64_t bytes = 0;
  for (const auto& disk : recipe.disks) bytes += disk.size;
  if (recipe.medium) bytes += recipe.medium->size;
  const std::string_view kind = recipe.medium ? "iso" : "import";
  std::string seen;
  std::optional<pve::StorageId> images;
  std::optional<pve::StorageId> uploads;
  std::optional<pve::StorageId> media;
  std::optional<pve::StorageId> unpacking;
  bool any_takes_uploads = false;
  for (const auto& storage : co_await pve::storage::list(client, kitchen.node)) {
    seen += fmt::format("{}{} ({}, {} MB free)", seen.empty() ? "" : ", ", storage.id,
                        fmt::join(storage.content, " "), storage.available / 1'000'000);
    const bool has_room =
        storage.available == 0 || static_cast<std::uint64_t>(storage.available) >= bytes;
    if (!unpacking && has_room && can_unpack(storage)) unpacking = storage.id;
    if (storage.id.text() == kitchen.storage) {
      images = storage.id;
      if (!storage.holds("images")) {
        throw_bad_input("PROXMOX_IMAGE_STORAGE", kitchen.storage,
                        fmt::format("it holds {}, no images", fmt::join(storage.content, ", ")));
      }
      if (!has_room) {
        throw_bad_input("PROXMOX_IMAGE_STORAGE", kitchen.storage,
                        fmt::format("{} has {} MB, and {} MB are free there", recipe.title,
                                    bytes / 1'000'000, storage.available / 1'000'000));
      }
    }
    if (!storage.active) continue;
    if (!media && storage.holds("iso")) media = storage.id;
    if (!storage.holds(kind)) continue;
    any_takes_uploads = true;
    if (!uploads && has_room) uploads = storage.id;
  }
  if (!images) {
    throw_bad_input("PROXMOX_IMAGE_STORAGE", kitchen.storage,
                    fmt::format("the storages of node {} are {}", kitchen.node, seen));
  }
  if (uploads) co_return Places{*images, *uploads, media, unpacking};
  if (any_takes_uploads) {
    throw Error{Errc::unsupported,
                fmt::format("no storage of node {} for uploads has room for the {} MB of {}: {}",
                            kitchen.node, bytes / 1'000'000, recipe.title, seen)};
  }
  throw Error{Errc::unsupported,
              fmt::format("no storage of node {} takes uploads of {}: {}", kitchen.node,
                          recipe.medium ? "ISO images" : "disk images", seen)}
      .with_hint(pve::storage::how_to_take(kind));
}

/// Whether VMs run with hardware virtualisation here; true where we may not know.
awaitable<bool> has_kvm(pve::Client& client, const pve::NodeName& node) {
  try {
    co_return (co_await pve::nodes::status(client, node)).kvm;
  } catch (const Error& error) {
    if (error.kind != Errc::forbidden) throw;
  }
  co_return true;
}

/// What every clone inherits, but for the disks.
pve::Params options_of(const Recipe& recipe, const Places& places, bool kvm) {
  pve::Params options;
  options.add("memory", 512)
      .add("cores", 2)
      .add("ostype", recipe.os_type)
      .add("cpu", kvm ? "host" : "max")
      .add("agent", "1")
      .add("serial0", "socket")
      .add("scsihw", recipe.scsihw)
      .add("rng0", "source=/dev/urandom")
      .add("boot", (recipe.medium ? "order=ide2;" : "order=") + recipe.disks.front().slot);
  // A node without it refuses to start a VM that does not turn it off (qemu-server, QemuServer.pm).
  if (!kvm) options.add("kvm", false);
  if (recipe.uefi) {
    options.add("bios", "ovmf")
        .add("efidisk0", fmt::format("{}:1,efitype=4m,pre-enrolled-keys={}", places.images,
                                     recipe.secure_boot ? 1 : 0));
  }
  return options;
}

/// What tells uploads for one template from others: the end of its content tag.
std::string key_of(const Recipe& recipe) {
  return recipe.content_tag.substr(recipe.content_tag.rfind('-') + 1);
}

awaitable<void> turn_into_template(pve::Client& client, pve::VmRef vm, Deadline limit) {
  const auto upid = co_await pve::qemu::make_template(client, vm, limit);
  co_await pve::wait_for_task(client, upid, limit, fmt::format("make VM {} a template", vm.vmid));
}

/// One bake under way: what it has put on the server so far, for clean-up.
class Bake {
 public:
  Bake(pve::Client& client, Kitchen kitchen, Recipe recipe, Claimed claimed)
      : client_{client},
        kitchen_{std::move(kitchen)},
        recipe_{std::move(recipe)},
        claimed_{std::move(claimed)} {}

  awaitable<void> run(Places places) {
    auto options = options_of(recipe_, places, co_await has_kvm(client_, kitchen_.node));
    if (recipe_.web) co_await fetch(places);
    if (recipe_.medium) {
      const auto medium =
          co_await put_medium(client_, kitchen_.node, places.uploads, *recipe_.medium, limit_);
      options.add("ide2", medium.text() + ",media=cdrom");
    }
    if (on_server_ && !recipe_.disks.front().member.empty()) {
      options.add("import-working-storage", places.unpacking->text());
    }
    for (std::size_t i = 0; i < recipe_.disks.size(); ++i) {
      const auto& disk = recipe_.disks[i];
      const auto from = disk.path.empty() ? ""
                        : on_server_      ? source_on_server(disk)
                                          : co_await upload(places, i);
      options.add(disk.slot,
                  from.empty()
                      ? fmt::format("{}:{}", places.images, (disk.capacity + gib - 1) / gib)
                      : fmt::format("{}:0,import-from={}", places.images, from));
    }
    log::info("{}: the server imports {} disk{}", recipe_.title, recipe_.disks.size(),
              recipe_.disks.size() == 1 ? "" : "s");
    const auto& vm = claimed_.vm;
    const auto set = co_await pve::qemu::set_config_in_task(client_, vm, options, limit_);
    co_await pve::wait_for_task(client_, set, limit_, "import the disks of " + recipe_.title);
    if (recipe_.built_in != nullptr && recipe_.built_in->needs_first_boot) {
      co_await boot_once(client_, first_boot(places), limit_);
    }
    co_await turn_into_template(client_, vm, limit_);
    is_ready_ = true;
    co_await pve::qemu::set_config(client_, vm, pve::Params{}.add("description", kitchen_.note),
                                   limit_);
  }

  /// The uploads, and a VM that did not become a template. What can't be removed is told, and
  /// spoils no template that is ready.
  awaitable<void> clean_up(Places places) {
    const auto limit = Deadline::after(60s);
    if (is_ready_) co_await find_uploads_of_the_dead(places);
    for (const auto& volume : uploads_) {
      try {
        co_await pve::storage::delete_volume(client_, kitchen_.node, volume, limit);
      } catch (const Error& error) {
        log::warn("upload {} is left: {}", volume, error.what());
      }
    }
    if (!is_ready_) co_await give_up(client_, claimed_);
  }

  awaitable<void> keep() { return keep_claim(client_, claimed_, kitchen_.note); }

 private:
  FirstBoot first_boot(const Places& places) const {
    if (!places.media) {
      throw Error{Errc::unsupported,
                  fmt::format("no storage of node {} takes ISO files, from which {} reads what to "
                              "install",
                              kitchen_.node, recipe_.title)}
          .with_hint(pve::storage::how_to_take("iso"));
    }
    return {.vm = claimed_.vm,
            .iso = *places.media,
            .built_in = recipe_.built_in,
            .key = recipe_.content_tag,
            .uplink = kitchen_.uplink};
  }

  std::string file_name(std::size_t index, std::string_view extension) const {
    return fmt::format("inspect-{}-{}-{}.{}", kitchen_.run, key_of(recipe_), index, extension);
  }

  /// Of the web: by the server, else by this machine into its cache.
  awaitable<void> fetch(Places places) {
    const auto& web = *recipe_.web;
    const auto extension = extension_on_server(recipe_);
    std::string why = "servers take no such file";
    if (!extension.empty() && (extension != "ova" || places.unpacking)) {
      ServerFetch where{kitchen_.node, places.uploads, file_name(0, extension)};
      auto volume = pve::VolumeId::of(places.uploads, "import/" + where.file_name);
      why = co_await fetch_on_server(client_, std::move(where), web, limit_);
      if (why.empty()) {
        uploads_.push_back(volume);
        on_server_ = std::move(volume);
        co_return;
      }
    }
    const auto here = co_await fetch_here(why);
    for (auto& disk : recipe_.disks) {
      if (!disk.path.empty()) disk.path = here;
    }
    // Of a built-in only the sum was known so far.
    if (recipe_.built_in != nullptr) {
      recipe_.disks = {disk_of_file(here, recipe_.disks.front().slot)};
    }
  }

  /// `why` the server doesn't.
  awaitable<std::filesystem::path> fetch_here(std::string why) {
    const auto& web = *recipe_.web;
    std::optional<Error> failure;
    try {
      const auto here = co_await download(
          client_.pool(), {web.url, web.checksum, show_progress(recipe_.title + ": download")});
      co_return here.file;
    } catch (const Error& error) {
      if (recipe_.built_in == nullptr) throw;
      failure = error;
    }
    throw missing_file(*recipe_.built_in, kitchen_.node.text(),
                       fmt::format("node {} can't download it: {}; nor can this machine: {}",
                                   kitchen_.node, why, failure->said));
  }

  std::string source_on_server(const RecipeDisk& disk) const {
    const auto file = on_server_->text();
    return disk.member.empty() ? file : fmt::format("{}/{}", file, disk.member);
  }

  /// Returns the volume to import from.
  awaitable<std::string> upload(const Places& places, std::size_t index) {
    const auto prepared = co_await run_in_pool(client_.pool(), [disk = recipe_.disks[index]] {
      return std::make_unique<PreparedDisk>(disk);
    });
    const auto source = prepared->source(client_.pool());
    pve::storage::Upload what{kitchen_.node, places.uploads, "import",
                              file_name(index, prepared->extension())};
    what.progress = show_progress(fmt::format("{}: upload", recipe_.title));
    uploads_.push_back(pve::storage::volume_of(what));
    const auto copied = co_await pve::storage::upload(client_, what, *source, limit_);
    co_await pve::wait_for_task(client_, copied, limit_, "upload " + what.file_name);
    co_return uploads_.back().text();
  }

  /// Those of other makers of this template; it is ready, so none of them lives.
  awaitable<void> find_uploads_of_the_dead(Places places) {
    try {
      for (const auto& volume :
           co_await pve::storage::content(client_, kitchen_.node, places.uploads, "import")) {
        const bool same = volume.id.rest().find(key_of(recipe_)) != std::string_view::npos;
        if (same && std::ranges::find(uploads_, volume.id) == uploads_.end()) {
          uploads_.push_back(volume.id);
        }
      }
    } catch (const Error& error) {
      log::debug("uploads of dead makers: {}", error.said);
    }
  }

  pve::Client& client_;
  Kitchen kitchen_;
  Recipe recipe_;
  Claimed claimed_;
  std::vector<pve::VolumeId> uploads_;
  std::optional<pve::VolumeId> on_server_;  ///< the whole source, which the server fetched
  bool is_ready_ = false;
  Deadline limit_ = Deadline::after(longest_bake);
};

std::string all_tags(const Recipe& recipe) {
  return fmt::format("inspect;{};{}", recipe.content_tag, recipe.source_tag);
}

ClaimTerms terms_of(const Kitchen& kitchen, const Recipe& recipe) {
  return {.node = kitchen.node,
          .content_tag = recipe.content_tag,
          .tags = all_tags(recipe),
          .name = recipe.name,
          .note = kitchen.note,
          .title = recipe.title,
          .is_dead = kitchen.is_dead};
}

}  // namespace

awaitable<pve::VmRef> restore(pve::Client& client, Kitchen kitchen, Recipe recipe) {
  const auto limit = Deadline::after(longest_bake);
  auto terms = terms_of(kitchen, recipe);
  const auto saved = co_await pve::backup::config(client, kitchen.node, *recipe.archive);
  if (const auto own = saved.find("tags"); own != saved.end()) terms.tags += ";" + own->second;
  terms.make = [&](pve::VmRef vm, pve::Params config) {
    log::info("restoring {} on node {}", recipe.title, kitchen.node);
    config.add("storage", kitchen.storage);
    return pve::qemu::restore(client, vm, *recipe.archive, std::move(config), limit);
  };
  const auto claimed = co_await claim(client, terms, limit);
  if (claimed.is_ready) co_return claimed.vm;
  bool is_ready = false;
  auto finish = [](pve::Client& server, pve::VmRef vm, std::string note, Deadline until,
                   bool& done) -> awaitable<void> {
    // The backup of a template comes back as one.
    if ((co_await pve::qemu::config(server, vm)).get("template") != "1") {
      co_await turn_into_template(server, vm, until);
    }
    done = true;
    co_await pve::qemu::set_config(server, vm, pve::Params{}.add("description", note), until);
  };
  auto undo = [](pve::Client& server, Claimed vm, const bool& done) -> awaitable<void> {
    if (!done) co_await give_up(server, vm);
  };
  co_await with_cleanup(finish(client, claimed.vm, kitchen.note, limit, is_ready),
                        undo(client, claimed, is_ready));
  co_return claimed.vm;
}

std::optional<std::string> run_of_upload(const std::string& file_name) {
  static const std::regex name{"inspect-([0-9a-f]{8})-[0-9a-f]{16}-[0-9]+\\.(qcow2|raw|vmdk|ova)"};
  std::smatch parts;
  if (!std::regex_match(file_name, parts, name)) return std::nullopt;
  return parts[1].str();
}

awaitable<pve::VmRef> bake(pve::Client& client, Kitchen kitchen, Recipe recipe) {
  const auto places = co_await find_places(client, kitchen, recipe);
  const auto claimed =
      co_await claim(client, terms_of(kitchen, recipe), Deadline::after(longest_bake));
  if (claimed.is_ready) co_return claimed.vm;
  log::info("making a template of {} on node {}", recipe.title, kitchen.node);
  const auto title = recipe.title;
  Bake work{client, std::move(kitchen), std::move(recipe), claimed};
  co_await with_cleanup(with_company(work.run(places), work.keep()), work.clean_up(places));
  log::info("the template of {} is VM {}", title, claimed.vm.vmid);
  co_return claimed.vm;
}

}  // namespace px::image
