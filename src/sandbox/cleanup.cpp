#include "sandbox/cleanup.hpp"

#include "image/bake.hpp"
#include "network/sets.hpp"
#include "pve/qemu.hpp"
#include "pve/sdn.hpp"
#include "pve/storage.hpp"
#include "sandbox/host.hpp"
#include "sandbox/life_sign.hpp"
#include "sandbox/marks.hpp"
#include "sandbox/removal.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::sandbox {

using namespace std::chrono_literals;

namespace {

struct Report {
  std::vector<std::string> removed;
  std::vector<std::string> left;
};

bool selected(const Leftover& item, const std::string& id) {
  return id.empty() || item.run == id || item.vm.vmid.text() == id;
}

awaitable<void> remove_one(pve::Client& client, Leftover item, Report& report) {
  const auto text = fmt::format("VM {} ({}) on node {}", item.vm.vmid, item.name, item.vm.node);
  try {
    co_await remove_vm(client, item.vm, text, Deadline::after(3min));
    report.removed.push_back("removed " + text);
  } catch (const Error& error) {
    report.left.push_back(fmt::format("{}: {}", text, error.what()));
  }
}

/// Media for guests and images for templates.
std::optional<std::string> run_of_file(const std::string& name) {
  if (const auto run = run_of_medium(name)) return run;
  return image::run_of_upload(name);
}

/// Files of ours that a dead process left on the storages.
awaitable<void> remove_files(Host& host, const std::string& id, Report& report) {
  for (const auto& storage : co_await pve::storage::list(host.client(), host.node())) {
    for (const auto* kind : {"iso", "import"}) {
      if (!storage.active || !storage.holds(kind)) continue;
      for (const auto& volume :
           co_await pve::storage::content(host.client(), host.node(), storage.id, kind)) {
        const auto rest = volume.id.rest();
        const auto run = run_of_file(std::string{rest.substr(rest.rfind('/') + 1)});
        if (!run || (!id.empty() && *run != id)) continue;
        try {
          co_await pve::storage::delete_volume(host.client(), host.node(), volume.id,
                                               Deadline::after(60s));
          report.removed.push_back("removed file " + volume.id.text());
        } catch (const Error& error) {
          report.left.push_back(fmt::format("file {}: {}", volume.id.text(), error.what()));
        }
      }
    }
  }
}

awaitable<std::vector<network::Remains>> find_networks(pve::Client& client, const std::string& id) {
  std::vector<network::Remains> out;
  try {
    const auto zones = co_await pve::sdn::zones(client);
    const auto vnets = co_await pve::sdn::vnets(client);
    out = network::ours_of(zones, vnets);
  } catch (const Error& error) {
    if (error.kind != Errc::unsupported) throw;  // a server without SDN has none
  }
  std::erase_if(out, [&](const auto& set) { return !id.empty() && set.run != id; });
  co_return out;
}

/// Networks of ours that a dead process left. All with one apply, for each holds up the cluster.
awaitable<void> remove_networks(Host& host, const std::string& id, Report& report) {
  const auto sets = co_await find_networks(host.client(), id);
  std::vector<std::string> names;
  for (const auto& set : sets) names.push_back(fmt::format("zone {}", set.zone));
  try {
    co_await network::remove_and_apply(host.client(), sets, Deadline::after(5min));
    for (const auto& name : names) report.removed.push_back("removed " + name);
  } catch (const Error& error) {
    report.left.push_back(fmt::format("{}: {}", fmt::join(names, ", "), error.what()));
  }
}

awaitable<void> clean_host(Host& host, const std::string& id, Report& report) {
  co_await host.check();
  std::vector<awaitable<void>> work;
  for (auto& item : co_await find_leftovers(host.client(), host.node())) {
    if (selected(item, id)) work.push_back(remove_one(host.client(), std::move(item), report));
  }
  co_await all(std::move(work));
  co_await remove_files(host, id, report);
  // A server takes a network away under a running VM (pve-practice section 5).
  if (report.left.empty()) co_await remove_networks(host, id, report);
}

}  // namespace

awaitable<std::vector<Leftover>> find_leftovers(pve::Client& client, pve::NodeName node) {
  std::vector<Leftover> out;
  for (const auto& vm : co_await pve::qemu::list(client, node)) {
    if (vm.is_template) continue;
    const pve::VmRef ref{node, vm.vmid};
    if (const auto run = run_of_tags(vm.tags)) {
      out.push_back({ref, vm.name, *run});
      continue;
    }
    const auto config = co_await pve::qemu::config_if_there(client, ref);
    if (!config) continue;
    const auto mark = find_mark(config->get("description"));
    const bool tagged = std::find(vm.tags.begin(), vm.tags.end(), common_tag) != vm.tags.end();
    if (mark || tagged) out.push_back({ref, vm.name, mark ? mark->run : ""});
  }
  co_return out;
}

awaitable<std::vector<std::string>> cleanup_from_environment(asio::thread_pool& pool,
                                                             std::string id,
                                                             Environment environment) {
  const auto executor = co_await asio::this_coro::executor;
  const RunId none;
  Report report;
  for (auto& instance : read_instances(environment)) {
    const std::string server = instance.host;
    try {
      Host host{executor, pool, std::move(instance), none, environment};
      co_await clean_host(host, id, report);
      co_await host.client().close();
    } catch (const Error& error) {
      report.left.push_back(fmt::format("what is on {}: {}", server, error.what()));
    }
  }
  if (!report.left.empty()) {
    throw Error{Errc::unavailable, fmt::format("not everything could be removed:\n  {}",
                                               fmt::join(report.left, "\n  "))};
  }
  if (!id.empty() && report.removed.empty()) {
    throw_bad_input("id", id, "no run and no VM of ours has it");
  }
  forget_dead(id, environment);
  co_return report.removed;
}

}  // namespace px::sandbox
