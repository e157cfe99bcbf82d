#pragma once
#include "node/vm/routes.hpp"

namespace px::node {

/// The drives by which VMs get their cloud-init data. The image is made anew at each start and by
/// PUT cloudinit, and what it was made of is kept in the configuration, so that changes since then
/// show. Source: qemu-server Cloudinit.pm.
class CloudInitDrive {
 public:
  explicit CloudInitDrive(VmServices services) : services_{services} {}

  /// Throws ApiError 500 when a drive asks for a second image of the VM.
  static void check_single(int vmid, const Options& before, const Options& set);

  /// A new drive stands for the options as they are; its image is made at the first start.
  static void note(Vm& vm);

  /// Makes the image of the VM's drive, where it has one; saves what it is made of. Throws
  /// Error{rejected} or ApiError 500 for a text that can't be had. The caller holds the lock.
  awaitable<void> generate(VmPtr vm) const;

  /// Removes the image that `before` had, when no drive of the VM holds it any longer.
  awaitable<void> drop_unused(VmPtr vm, Options before) const;

 private:
  std::map<std::string, std::string> custom_texts(const Options& options) const;

  VmServices services_;
};

}  // namespace px::node
