#include "guest/agent_channel.hpp"

#include "pve/agent.hpp"
#include "pve/qemu.hpp"
#include "pve/storage.hpp"
#include "pve/tasks.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

namespace px::guest {

namespace {

using namespace std::chrono_literals;

/// A CD-ROM's sector. The header fills one, so that no payload is taken for a disk image of another
/// format by the server's check of uploads (pve-practice section 1).
constexpr std::size_t sector = 2048;

std::unique_ptr<pve::BodySource> medium_source(Medium medium) {
  std::string header = "proxmox-sandbox " + medium.nonce + " \n";
  header.resize(sector, '\0');
  const auto padding = (sector - medium.payload.size() % sector) % sector;
  std::vector<std::string> pieces;
  pieces.push_back(std::move(header));
  pieces.push_back(std::move(medium.payload));
  if (padding > 0) pieces.emplace_back(padding, '\0');
  return pve::memory_source(std::move(pieces));
}

}  // namespace

AgentChannel::AgentChannel(pve::Client& client, pve::VmRef vm, std::optional<MediumPlace> place,
                           VmWords words, std::chrono::steady_clock::duration patience)
    : client_{client},
      vm_{vm},
      place_{std::move(place)},
      watch_{client, std::move(vm), std::move(words), patience} {}

awaitable<LaunchId> AgentChannel::launch(Launch what) {
  co_return LaunchId{
      co_await watch_.over<std::int64_t>([&](pve::CallOptions options) -> awaitable<std::int64_t> {
        const auto permit = co_await calls_.acquire();
        co_return co_await pve::agent::exec(client_, vm_, std::move(what.argv),
                                            std::move(what.input), std::move(options));
      })};
}

awaitable<std::optional<LaunchEnd>> AgentChannel::poll(LaunchId launch) {
  auto status = co_await watch_.over<pve::agent::ExecStatus>(
      [&](pve::CallOptions options) -> awaitable<pve::agent::ExecStatus> {
        const auto permit = co_await calls_.acquire();
        co_return co_await pve::agent::exec_status(client_, vm_, static_cast<std::int64_t>(launch),
                                                   std::move(options));
      });
  if (!status.exited) co_return std::nullopt;
  co_return LaunchEnd{status.exit_code.value_or(128 + status.signal.value_or(0)),
                      std::move(status.out), std::move(status.err)};
}

awaitable<FilePart> AgentChannel::read_file(std::string path, std::uint64_t offset,
                                            std::uint64_t count) {
  auto piece = co_await watch_.over<pve::agent::FilePiece>(
      [&](pve::CallOptions options) -> awaitable<pve::agent::FilePiece> {
        const auto permit = co_await calls_.acquire();
        co_return co_await pve::agent::read_file(client_, vm_, path, offset, count,
                                                 std::move(options));
      });
  co_return FilePart{std::move(piece.bytes), !piece.truncated};
}

awaitable<void> AgentChannel::write_file(std::string path, std::string bytes) {
  co_await watch_.over<void>([&](pve::CallOptions options) -> awaitable<void> {
    const auto permit = co_await calls_.acquire();
    co_await pve::agent::write_file(client_, vm_, std::move(path), std::move(bytes),
                                    std::move(options));
  });
}

awaitable<void> AgentChannel::with_medium(Medium medium, awaitable<void> use) {
  const auto permit = co_await drive_.acquire();
  const std::string file = place_->name_prefix + medium.nonce + ".iso";
  const pve::storage::Upload what{vm_.node, place_->storage, "iso", file};
  const auto volume = pve::storage::volume_of(what);
  bool attached = false;
  auto body = [](AgentChannel& self, pve::storage::Upload upload, Medium payload, pve::VolumeId id,
                 awaitable<void> inner, bool& in_drive) -> awaitable<void> {
    const auto limit = Deadline::after(10min);
    const auto source = medium_source(std::move(payload));
    // The server copies with cp, at some hundred MB a second; asking earlier costs a request.
    const std::chrono::milliseconds copying{20 + source->size() / 500'000};
    const auto upid = co_await pve::storage::upload(self.client_, upload, *source, limit);
    co_await pve::wait_for_task(self.client_, upid, limit, "upload " + upload.file_name, copying);
    pve::Params change;
    change.add(self.place_->drive, id.text() + ",media=cdrom");
    in_drive = true;
    co_await pve::qemu::set_config(self.client_, self.vm_, std::move(change), Deadline::after(60s));
    co_await std::move(inner);
  };
  co_await with_cleanup(body(*this, what, std::move(medium), volume, std::move(use), attached),
                        remove_medium(volume, attached));
}

/// Never throws: what can't be removed is said in the log and carries the run's mark in its name.
awaitable<void> AgentChannel::remove_medium(pve::VolumeId volume, bool& attached) {
  try {
    if (attached) {
      pve::Params change;
      change.add(place_->drive, "none,media=cdrom");
      co_await pve::qemu::set_config(client_, vm_, std::move(change), Deadline::after(30s));
    }
    co_await pve::storage::delete_volume(client_, vm_.node, volume, Deadline::after(30s));
  } catch (const Error& error) {
    log::warn("{} is left on the server: {}", volume.text(), error.what());
  }
}

}  // namespace px::guest
