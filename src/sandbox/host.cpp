#include "sandbox/host.hpp"

#include "image/drives.hpp"
#include "network/native_options.hpp"
#include "network/permanent.hpp"
#include "pve/pools.hpp"
#include "pve/storage.hpp"
#include "sandbox/life_sign.hpp"
#include "sandbox/native_options.hpp"
#include "sandbox/run_record.hpp"
#include "sandbox/sandbox.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::sandbox {

using namespace std::chrono_literals;

namespace {

std::string template_note(const RunId& run) {
  return fmt::format(
      "Template made by Proxmox Sandbox; the VMs of Inspect samples are cloned from it.\n\n"
      "inspect-run: {}\n",
      run.text);
}

}  // namespace

Host::Host(Server& server, pve::NodeName node, const RunId& run, const Environment& environment)
    : server_{server},
      node_{std::move(node)},
      templates_{client(),
                 node_,
                 instance().image_storage,
                 run.text,
                 template_note(run),
                 [environment](const std::string& note) {
                   const auto mark = find_mark(note);
                   return mark && has_ended(life_of(mark->run, environment).life);
                 },
                 [this] { return uplink(); }},
      seeds_{client(), node_} {
  room.most_samples = instance().max_sandboxes;
}

std::string Host::name() const {
  const auto& id = instance().name();
  return id == node_.text() ? id : fmt::format("{}, node {}", id, node_);
}

bool Host::is_well() const noexcept {
  return server_.health.is_well() && health.is_well() && is_online;
}

awaitable<std::string> Host::uplink() {
  const auto permit = co_await uplink_turn_.acquire();
  co_return (co_await network::permanent_vnet(client())).text();
}

// --- what a configuration needs ------------------------------------------------------------------

namespace {

/// What the configuration promises is kept or said loudly not to be.
awaitable<void> check_firewall(Server& server, const Spec& spec) {
  const bool closed = spec.networks.isolation.closed && !spec.networks.vnets.empty();
  const auto guarded = std::ranges::find(spec.vms, true, &VmSpec::firewall);
  if (!closed && guarded == spec.vms.end()) co_return;
  const auto trouble = co_await server.firewall_trouble();
  if (trouble.empty()) co_return;
  const auto said = fmt::format("on {} {}", server.instance().host, trouble);
  const std::string fix = "See what is missing, and mend it: proxmox-sandbox doctor --fix";
  if (guarded != spec.vms.end()) {
    const auto index = guarded - spec.vms.begin();
    throw Error{Errc::unsupported,
                fmt::format("vms_config[{}].firewall: the VM can't be isolated: {}", index, said)}
        .with_hint(fix);
  }
  if (spec.verify_isolation) {
    throw Error{Errc::unsupported,
                fmt::format("verify_isolation: the networks can't be closed: {}", said)}
        .with_hint(fix);
  }
  log::warn(
      "SAMPLES' NETWORKS ARE NOT CLOSED: {}. Guests may reach the server, its networks and other "
      "samples. {}",
      said, fix);
}

}  // namespace

awaitable<void> Host::prepare(const Spec& spec, const std::string& key) {
  auto& turn = one_preparation_[key];
  if (!turn) turn = std::make_unique<Semaphore>(1);
  const auto permit = co_await turn->acquire();
  if (prepared_.contains(key)) co_return;
  co_await check_firewall(server_, spec);
  for (const auto& vm : spec.vms) {
    for (const auto& card : vm.cards.value_or(std::vector<network::Card>{})) {
      if (!card.vnet) co_await server_.existing_vnet(card, spec.networks);
    }
  }
  co_await network::check_network_options(client(), spec.networks);
  for (const auto& vm : spec.vms) {
    co_await check_places(vm);
    co_await check_native_options(client(), node_, vm);
  }
  for (const auto& vm : spec.vms) {
    if (vm.seed) co_await seed_of(vm);
  }
  const auto make_template = [this](const VmSpec& vm) -> awaitable<void> {
    co_await template_of(template_request(vm));
  };
  std::vector<awaitable<void>> templates;
  for (const auto& vm : spec.vms) templates.push_back(make_template(vm));
  co_await all(std::move(templates));
  prepared_.insert(key);
}

/// That the storage and the pool that a VM names are there.
awaitable<void> Host::check_places(const VmSpec& vm) {
  if (vm.storage) {
    std::vector<std::string> known;
    for (const auto& storage : co_await pve::storage::list(client(), node_)) {
      if (storage.holds("images")) known.push_back(storage.id.text());
    }
    if (std::ranges::find(known, *vm.storage) == known.end()) {
      throw_bad_input(
          vm.field + ".storage", *vm.storage,
          fmt::format("the storages for images of node {} are: {}", node_, fmt::join(known, ", ")));
    }
  }
  if (!vm.pool) co_return;
  std::vector<std::string> pools;
  for (const auto& pool : co_await pve::pools::list(client())) {
    if (!RunRecord::of(pool.id, pool.comment)) pools.push_back(pool.id);
  }
  if (std::ranges::find(pools, *vm.pool) != pools.end()) co_return;
  throw_bad_input(vm.field + ".pool", *vm.pool,
                  pools.empty()
                      ? "the server has no pools"
                      : fmt::format("the server's pools are: {}", fmt::join(pools, ", ")));
}

// --- templates -----------------------------------------------------------------------------------

awaitable<bool> Host::is_shared(std::string storage) {
  const auto permit = co_await look_up_.acquire();
  if (!shared_.contains(storage)) {
    shared_[storage] = false;  // also one that is not there
    for (const auto& seen : co_await pve::storage::list(client(), node_)) {
      shared_[seen.id.text()] = seen.shared;
    }
  }
  co_return shared_[storage];
}

awaitable<image::Template> Host::template_of(image::TemplateRequest request) {
  const auto hosts = server_.hosts();
  if (hosts.size() == 1) co_return co_await templates_.get(std::move(request));
  if (request.existing_tag.empty() && request.existing_backup.empty()) {
    // On shared storage one serves all: the first node's.
    const bool shared = co_await is_shared(request.storage.value_or(instance().image_storage));
    auto& maker = shared ? hosts.front()->templates_ : templates_;
    co_return co_await maker.get(std::move(request));
  }
  std::optional<Error> not_here;
  try {
    co_return co_await templates_.get(request);
  } catch (const Error& error) {
    if (error.kind != Errc::bad_input || request.existing_tag.empty()) throw;
    not_here = error;
  }
  for (const auto& other : hosts) {
    if (other.get() == this || !other->is_online) continue;
    std::optional<image::Template> found;
    try {
      found = co_await other->templates_.get(request);
    } catch (const Error& error) {
      if (error.kind != Errc::bad_input) throw;
    }
    if (!found) continue;
    const auto disk = found->config.get(image::boot_disk(found->config));
    if (co_await is_shared(image::storage_of_drive(disk))) co_return *std::move(found);
  }
  throw *std::move(not_here);
}

void Host::forget_templates() {
  for (const auto& host : server_.hosts()) host->templates_.forget();
}

// --- media ---------------------------------------------------------------------------------------

awaitable<std::optional<pve::StorageId>> Host::iso_storage() {
  const auto permit = co_await look_up_.acquire();
  if (!iso_storage_known_) {
    for (const auto& storage : co_await pve::storage::list(client(), node_)) {
      if (storage.active && storage.holds("iso")) {
        iso_storage_ = storage.id;
        break;
      }
    }
    iso_storage_known_ = true;
  }
  co_return iso_storage_;
}

awaitable<pve::VolumeId> Host::seed_of(const VmSpec& vm) {
  const auto storage = co_await iso_storage();
  if (!storage) {
    throw Error{Errc::unsupported,
                fmt::format("{}.cloud_init: no storage of node {} holds `iso`, and the guest reads "
                            "it from a CD-ROM",
                            vm.field, node_)}
        .with_hint(pve::storage::how_to_take("iso"));
  }
  co_return co_await seeds_.get(vm.seed, *storage);
}

awaitable<std::vector<network::Cidr>> Host::foreign_networks() {
  std::vector<network::Cidr> out;
  for (const auto& range : co_await network::host_ranges(client(), node_)) {
    out.push_back(range.cidr);
  }
  co_return out;
}

}  // namespace px::sandbox
