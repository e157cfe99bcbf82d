#include "image/cloud_seed.hpp"

#include "image/iso_image.hpp"
#include "pve/storage.hpp"
#include "pve/tasks.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <regex>

namespace px::image {

namespace {

using namespace std::chrono_literals;

constexpr auto seed_limit = 5min;
constexpr std::size_t key_size = 16;

/// YAML that JSON is, too.
std::string meta_data(const std::string& instance_id, const std::string& host_name) {
  boost::json::object out{{"instance-id", instance_id}};
  if (!host_name.empty()) out["local-hostname"] = host_name;
  return boost::json::serialize(out) + "\n";
}

/// So that the guest can resolve its own name. As a vendor's word, which the user's overrules.
constexpr auto vendor_data = "#cloud-config\n{\"manage_etc_hosts\":\"localhost\"}\n";

}  // namespace

SeedImage make_seed_image(const CloudSeed& seed) {
  std::map<std::string, std::string> files{{"user-data", seed.user_data}};
  if (!seed.host_name.empty()) files["vendor-data"] = vendor_data;
  if (!seed.network_config.empty()) files["network-config"] = seed.network_config;
  Sha256 content;
  content.update(seed.host_name);
  for (const auto& [name, text] : files) {
    content.update(fmt::format("\n{} {}\n", name, text.size()));
    content.update(text);
  }
  SeedImage out{
      .instance_id = "inspect-" + content.hex().substr(0, key_size), .file_name = {}, .bytes = {}};
  files["meta-data"] = meta_data(out.instance_id, seed.host_name);
  out.bytes = iso_image("cidata", files);
  out.file_name = fmt::format("inspect-seed-{}.iso", sha256_hex(out.bytes).substr(0, key_size));
  return out;
}

bool is_seed(const std::string& file_name) {
  static const std::regex form{"inspect-seed-[0-9a-f]{16}\\.iso"};
  return std::regex_match(file_name, form);
}

/// A file that is still being copied into its place is shorter (pve-practice section 1.1).
awaitable<bool> Seeds::is_there(pve::VolumeId volume, std::size_t size) {
  const auto all = co_await pve::storage::content(client_, node_, volume.storage(), "iso");
  co_return std::ranges::any_of(all, [&](const pve::storage::Volume& other) {
    return other.id == volume && other.size == static_cast<std::int64_t>(size);
  });
}

awaitable<pve::VolumeId> Seeds::get(std::shared_ptr<const SeedImage> seed, pve::StorageId storage) {
  const auto permit = co_await one_at_a_time_.acquire();
  if (const auto it = known_.find(seed->file_name); it != known_.end()) co_return it->second;
  const pve::storage::Upload what{node_, std::move(storage), "iso", seed->file_name};
  const auto volume = pve::storage::volume_of(what);
  if (!co_await is_there(volume, seed->bytes.size())) {
    // Who uploads it at the same time uploads the same bytes.
    const auto limit = Deadline::after(seed_limit);
    const auto source = pve::memory_source({seed->bytes});
    const auto copied = co_await pve::storage::upload(client_, what, *source, limit);
    co_await pve::wait_for_task(client_, copied, limit, "upload " + what.file_name);
    log::debug("{} is on node {}", volume, node_);
  }
  known_.emplace(seed->file_name, volume);
  co_return volume;
}

}  // namespace px::image
