#include "sandbox/belongings.hpp"

#include "image/bake.hpp"
#include "image/claim.hpp"
#include "pve/qemu.hpp"
#include "pve/sdn.hpp"
#include "pve/storage.hpp"
#include "sandbox/marks.hpp"

#include <algorithm>

namespace px::sandbox {

namespace {

awaitable<void> look_at_vm(pve::Client& client, pve::NodeName node, pve::qemu::VmSummary vm,
                           std::vector<OwnVm>& out) {
  const pve::VmRef ref{node, vm.vmid};
  const auto config = co_await pve::qemu::config_if_there(client, ref);
  if (!config) co_return;
  const auto description = config->get("description");
  const auto mark = find_mark(description);
  const auto tagged = run_of_tags(vm.tags);
  const bool ours = mark || tagged || std::ranges::find(vm.tags, common_tag) != vm.tags.end();
  if (!ours) co_return;
  OwnVm own{.vm = ref,
            .name = vm.name,
            .run = tagged.value_or(mark ? mark->run : ""),
            .status = vm.status,
            .description = description,
            .is_being_made = description.find(image::making_key) != std::string::npos,
            .memory = vm.memory};
  if (mark) {
    own.task = mark->task;
    own.sample = mark->sample;
    own.owner = mark->owner;
    own.since = mark->since;
  }
  out.push_back(std::move(own));
}

awaitable<void> add_vms(pve::Client& client, pve::NodeName node, Belongings& out) {
  std::vector<awaitable<void>> looks;
  for (auto& vm : co_await pve::qemu::list(client, node)) {
    if (!vm.is_template) looks.push_back(look_at_vm(client, node, std::move(vm), out.vms));
  }
  co_await all(std::move(looks));
  std::ranges::sort(out.vms, {}, [](const OwnVm& own) { return own.vm.vmid; });
}

/// The run in a file's name, if it is one of ours.
std::optional<std::string> run_of_file(const std::string& name) {
  if (const auto run = run_of_medium(name)) return run;
  return image::run_of_upload(name);
}

/// On shared storage all nodes have it.
bool is_known(const std::vector<OwnFile>& files, const pve::VolumeId& volume, bool is_shared) {
  return is_shared && std::ranges::find(files, volume, &OwnFile::volume) != files.end();
}

awaitable<void> add_files(pve::Client& client, pve::NodeName node, Belongings& out) {
  for (const auto& storage : co_await pve::storage::list(client, node)) {
    for (const auto* kind : {"iso", "import"}) {
      if (!storage.active || !storage.holds(kind)) continue;
      for (auto& volume : co_await pve::storage::content(client, node, storage.id, kind)) {
        const auto rest = volume.id.rest();
        const auto run = run_of_file(std::string{rest.substr(rest.rfind('/') + 1)});
        if (!run || is_known(out.files, volume.id, storage.shared)) continue;
        out.files.push_back({node, std::move(volume.id), *run, volume.size});
      }
    }
  }
}

awaitable<void> add_networks(pve::Client& client, Belongings& out) {
  try {
    const auto zones = co_await pve::sdn::zones(client);
    const auto vnets = co_await pve::sdn::vnets(client);
    out.networks = network::ours_of(zones, vnets);
  } catch (const Error& error) {
    if (error.kind != Errc::unsupported) throw;  // a server without SDN has none
  }
}

}  // namespace

awaitable<Belongings> find_belongings(pve::Client& client, std::vector<pve::NodeName> nodes) {
  Belongings out;
  for (const auto& node : nodes) {
    co_await add_vms(client, node, out);
    co_await add_files(client, node, out);
  }
  co_await add_networks(client, out);
  co_return out;
}

}  // namespace px::sandbox
