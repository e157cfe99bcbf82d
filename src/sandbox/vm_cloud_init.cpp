#include "guest/vm_watch.hpp"
#include "image/cloud_init.hpp"
#include "image/drives.hpp"
#include "pve/qemu.hpp"
#include "sandbox/sandbox.hpp"

#include <fmt/format.h>

/// What `cloud_init` adds to a VM's bring-up.
namespace px::sandbox {

namespace {

using namespace std::chrono_literals;

constexpr auto seed_request_limit = 5min;
/// Packages over a slow line, in a guest under emulation.
constexpr auto cloud_init_limit = 20min;

}  // namespace

/// A drive with the seed. `after`: the configuration that the VM will have.
awaitable<void> Vm::add_seed(pve::qemu::VmConfigMap& after, pve::Params& changes) {
  if (!spec_.seed) co_return;
  const auto drive = image::seed_drive_of(after);
  if (drive.empty()) {
    throw Error{Errc::unsupported,
                fmt::format("{}.cloud_init: {} has no place for a CD-ROM drive, all are taken",
                            spec_.field, text())};
  }
  const auto volume = co_await host_->seed_of(spec_);
  const auto medium = fmt::format("{},media=cdrom", volume);
  changes.add(drive, medium);
  after.values[drive] = medium;
}

/// Sends what configure() decided. A seed that was removed since it was looked for is uploaded once
/// more.
awaitable<void> Vm::set_options(pve::Params changes) {
  const auto limit = Deadline::after(seed_request_limit);
  std::optional<Error> failure;
  try {
    co_await pve::qemu::set_config(host_->client(), *vm_, changes, limit);
  } catch (const Error& error) {
    const bool seed_is_gone = spec_.seed &&
                              error.said.find(spec_.seed->file_name) != std::string::npos &&
                              error.said.find("does not exist") != std::string::npos;
    if (!seed_is_gone) throw;
    failure = error;
  }
  if (!failure) co_return;
  host_->forget_seeds();
  co_await host_->seed_of(spec_);
  co_await pve::qemu::set_config(host_->client(), *vm_, std::move(changes), limit);
}

awaitable<void> Vm::wait_for_cloud_init() {
  if (!spec_.seed) co_return;
  co_await open_guest(guest::VmWatch::patience_with_a_first_boot);
  const auto guest = this->guest();
  co_await image::wait_for_cloud_init(*guest, spec_.seed->instance_id,
                                      fmt::format("{}.cloud_init of {}", spec_.field, text()),
                                      Deadline::after(cloud_init_limit));
}

}  // namespace px::sandbox
