#pragma once
#include "guest/channel.hpp"
#include "guest/vm_watch.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <optional>
#include <string>

namespace px::guest {

/// Where a medium for the guest goes.
struct MediumPlace {
  std::string drive;        ///< a CD-ROM drive the VM was started with: scsi1, ide2
  pve::StorageId storage;   ///< holds content `iso` on the VM's node
  std::string name_prefix;  ///< of the file; the nonce and .iso follow
};

/// The channel through the QEMU guest agent and the Proxmox VE API.
class AgentChannel : public Channel {
 public:
  /// `client` must outlive the channel. Without a `place` files go in pieces only. `patience`: how
  /// long the guest's agent may be silent before the VM counts as dead.
  AgentChannel(pve::Client& client, pve::VmRef vm, std::optional<MediumPlace> place, VmWords words,
               std::chrono::steady_clock::duration patience);

  awaitable<LaunchId> launch(Launch what) override;
  awaitable<std::optional<LaunchEnd>> poll(LaunchId launch) override;
  awaitable<FilePart> read_file(std::string path, std::uint64_t offset,
                                std::uint64_t count) override;
  awaitable<void> write_file(std::string path, std::string bytes) override;
  bool has_medium() const noexcept override { return place_.has_value(); }
  awaitable<void> with_medium(Medium medium, awaitable<void> use) override;

 private:
  awaitable<void> remove_medium(pve::VolumeId volume, bool& attached);

  pve::Client& client_;
  pve::VmRef vm_;
  std::optional<MediumPlace> place_;
  VmWatch watch_;
  /// One guest's commands must not hold all of the server's workers: the agent serves one call at
  /// a time, the rest would only wait there (pve-facts section 14).
  Semaphore calls_{2};
  Semaphore drive_{1};
};

}  // namespace px::guest
