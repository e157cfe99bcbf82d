#include "image/first_boot.hpp"

#include "guest/agent_channel.hpp"
#include "guest/linux/linux_guest.hpp"
#include "image/cloud_init.hpp"
#include "image/cloud_seed.hpp"
#include "image/drives.hpp"
#include "image/first_boot_scripts.hpp"
#include "pve/agent.hpp"
#include "pve/qemu.hpp"
#include "pve/storage.hpp"
#include "pve/tasks.hpp"
#include "support/log.hpp"

#include <boost/algorithm/string/replace.hpp>
#include <boost/algorithm/string/trim.hpp>
#include <fmt/format.h>

namespace px::image {

namespace {

using namespace std::chrono_literals;

/// Hundreds of packages over a slow line, in a guest under emulation.
constexpr auto longest_boot = 60min;
constexpr auto clean_limit = 10min;
constexpr auto shutdown_patience = 120s;
constexpr auto first_ping_pause = 200ms;
constexpr auto longest_ping_pause = 2s;

/// Kept in the image by its cloud-init, so that a clone without a seed asks by DHCP, too: by name,
/// for its card is another one. Nobody waits for it at a start.
constexpr auto any_card_by_dhcp =
    "version: 2\n"
    "ethernets:\n"
    "  all:\n"
    "    match: {name: \"e*\"}\n"
    "    dhcp4: true\n"
    "    optional: true\n";

/// One start under way, and what it has put in place so far.
class Boot {
 public:
  Boot(pve::Client& client, FirstBoot what, Deadline limit)
      : client_{client},
        what_{std::move(what)},
        limit_{limit.sooner(Deadline::after(longest_boot))},
        title_{fmt::format("VM {} ({})", what_.vm.vmid, what_.built_in->name)} {}

  awaitable<void> run() {
    co_await prepare();
    log::info("{}: starts once", title_);
    co_await pve::run_task(
        client_, [this] { return pve::qemu::start(client_, what_.vm, limit_); }, limit_,
        "start " + title_);
    guest::LinuxGuest guest{std::make_shared<guest::AgentChannel>(
                                client_, what_.vm, std::nullopt, guest::VmWords{title_, ""},
                                guest::VmWatch::patience_with_a_first_boot),
                            client_.pool()};
    co_await wait_for_agent();
    log::info("{}: waiting for its cloud-init", title_);
    co_await wait_for_cloud_init(guest, seed_->instance_id, title_, limit_);
    log::info("{}: cleaning", title_);
    co_await clean(guest);
    co_await pve::run_task(
        client_,
        [this] { return pve::qemu::shutdown(client_, what_.vm, shutdown_patience, true, limit_); },
        limit_, "shut down " + title_);
    co_await restore();
  }

  /// The seed is nobody else's. The VM is its claim's.
  awaitable<void> clean_up() {
    if (!seed_) co_return;
    const auto soon = Deadline::after(60s);
    const auto volume =
        pve::storage::volume_of({what_.vm.node, what_.iso, "iso", seed_->file_name});
    try {
      co_await pve::storage::delete_volume(client_, what_.vm.node, volume, soon);
    } catch (const Error& error) {
      log::warn("the seed {} is left: {}", volume, error.what());
    }
  }

 private:
  awaitable<void> prepare() {
    CloudSeed seed;
    seed.user_data = boost::algorithm::replace_all_copy(
        boost::algorithm::replace_all_copy(std::string{install_script}, "PACKAGES",
                                           std::string{what_.built_in->packages}),
        "KEY", what_.key);
    seed.network_config = any_card_by_dhcp;
    seed_ = std::make_shared<const SeedImage>(
        co_await run_in_pool(client_.pool(), [&] { return make_seed_image(seed); }));
    Seeds seeds{client_, what_.vm.node};
    const auto volume = co_await seeds.get(seed_, what_.iso);
    const auto config = co_await pve::qemu::config(client_, what_.vm);
    drive_ = seed_drive_of(config);
    if (drive_.empty()) {
      throw Error{Errc::unsupported, title_ + " has no place for a CD-ROM drive"};
    }
    pve::Params changes;
    changes.add(drive_, fmt::format("{},media=cdrom", volume)).add("memory", 1024);
    const auto bridge = co_await uplink();
    if (!bridge.empty()) changes.add("net0", "virtio,bridge=" + bridge);
    memory_ = config.get("memory");
    has_card_ = !bridge.empty() || !config.get("net0").empty();
    co_await pve::qemu::set_config(client_, what_.vm, std::move(changes), limit_);
  }

  /// An image that has everything needs no network, so that where there is none it is tried.
  awaitable<std::string> uplink() {
    try {
      co_return co_await what_.uplink();
    } catch (const Error& error) {
      no_network_ = error.said;
    }
    log::warn("{}: starts without a network: {}", title_, no_network_);
    co_return "";
  }

  awaitable<void> wait_for_agent() {
    for (std::chrono::milliseconds pause = first_ping_pause;;
         pause = std::min<std::chrono::milliseconds>(pause * 2, longest_ping_pause)) {
      std::optional<Error> failure;
      try {
        co_await pve::agent::ping(client_, what_.vm);
      } catch (const Error& error) {
        failure = error;
      }
      if (!failure) co_return;
      if (failure->kind == Errc::unavailable) throw gave_up();
      if (failure->kind != Errc::agent_down && failure->sent != Sent::maybe) throw *failure;
      if (limit_.passed(std::chrono::steady_clock::now())) {
        throw Error{Errc::agent_down,
                    title_ +
                        ": the guest agent did not answer; its cloud-init should have "
                        "installed it"}
            .with_hint("Does the image have cloud-init, with the data source NoCloud?");
      }
      co_await sleep_for(pause);
    }
  }

  Error gave_up() const {
    return Error{
        Errc::unavailable,
        fmt::format("{}: the guest switched itself off: it could not install its agent", title_)}
        .with_hint(no_network_.empty()
                       ? "Guests in the VNet inspvmv0 must reach the distribution's package server "
                         "(SNAT, DNS); or take an image that has qemu-guest-agent: proxmox-sandbox "
                         "image add."
                       : "There is no network for it: " + no_network_);
  }

  awaitable<void> clean(guest::Guest& guest) {
    guest::ExecRequest request;
    request.command.argv = {"/bin/sh", "-c", std::string{clean_script}};
    request.user = "root";
    request.timeout = clean_limit;
    const auto result = co_await guest.exec(std::move(request));
    if (result.status == 0) co_return;
    throw Error{Errc::task_failed, fmt::format("{}: can't be cleaned: {}", title_,
                                               boost::algorithm::trim_copy(result.err))};
  }

  awaitable<void> restore() {
    pve::Params changes;
    changes.add("delete", has_card_ ? drive_ + ",net0" : drive_).add("memory", memory_);
    co_await pve::qemu::set_config(client_, what_.vm, std::move(changes), limit_);
  }

  pve::Client& client_;
  FirstBoot what_;
  Deadline limit_;
  std::string title_;
  std::shared_ptr<const SeedImage> seed_;
  std::string drive_;
  std::string memory_;
  std::string no_network_;
  bool has_card_ = false;
};

}  // namespace

awaitable<void> boot_once(pve::Client& client, FirstBoot what, Deadline limit) {
  Boot boot{client, std::move(what), limit};
  co_await with_cleanup(boot.run(), boot.clean_up());
}

}  // namespace px::image
