#pragma once
#include "guest/guest.hpp"
#include "support/async.hpp"

#include <string>

namespace px::image {

/// Waits until the cloud-init of a Linux guest has done what the seed of this instance says
/// (SeedImage::instance_id). What it got over by itself (its exit code 2) is a warning in our log.
///
/// Every message begins with `subject`, the field and the VM. Errors: task_failed with cloud-init's
/// status and the end of /var/log/cloud-init-output.log, which holds what the configured commands
/// print; timeout with the same; unsupported (the guest has no cloud-init, or it didn't read the
/// seed); and those of guest::Guest::exec().
awaitable<void> wait_for_cloud_init(guest::Guest& guest, std::string instance_id,
                                    std::string subject, Deadline limit);

}  // namespace px::image
