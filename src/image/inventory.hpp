#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "support/async.hpp"

#include <cstdint>
#include <string>
#include <vector>

/// What of images is on a node: templates of ours, files that were uploaded to make them, and
/// media for CD-ROM drives of VMs.
namespace px::image {

struct MadeTemplate {
  pve::VmRef vm;
  std::string name;
  std::string source;       ///< builtin-debian13-small, ova-victim-12345...; may be empty
  std::string content_tag;  ///< inspect-src-...; empty: of the existing provider
  bool is_ready = false;    ///< else it is being made, or its maker died
  std::string run{};        ///< that makes it; empty when it is ready
  std::vector<pve::Vmid> clones{};
};

struct UploadedFile {
  pve::VolumeId volume;
  std::string run;
  std::int64_t size = 0;  ///< bytes
};

/// A seed for cloud-init, or what an installation boots from.
struct StoredMedium {
  pve::VolumeId volume;
  std::int64_t size = 0;           ///< bytes
  std::vector<pve::Vmid> users{};  ///< VMs that have it in a drive
};

struct Inventory {
  std::vector<MadeTemplate> templates;
  std::vector<UploadedFile> uploads;
  std::vector<StoredMedium> media{};
};

/// A VM counts as a clone when it has its template's content tag, which it inherits.
awaitable<Inventory> take_inventory(pve::Client& client, pve::NodeName node);

}  // namespace px::image
