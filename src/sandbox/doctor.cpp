#include "sandbox/doctor.hpp"

#include "pve/access.hpp"
#include "pve/client.hpp"
#include "pve/nodes.hpp"
#include "pve/storage.hpp"
#include "pve/version.hpp"
#include "sandbox/doctor_rights.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::sandbox {

namespace {

using State = Finding::State;

/// The oldest version whose API we know: `exec` takes its arguments as a list (8.0.1), upload
/// takes disk images (8.2.7).
constexpr pve::Version oldest{8, 2, 7};

/// What the provider does on a node, and the privilege it takes (pve-facts section 15).
const std::vector<Need> needs_of_vms{
    {"/vms", "VM.Allocate", "create and delete VMs"},
    {"/vms", "VM.Audit", "list VMs"},
    {"/vms", "VM.Clone", "clone templates"},
    {"/vms", "VM.Config.CDROM", "send large files into guests"},
    {"/vms", "VM.Config.Memory", "set a VM's memory"},
    {"/vms", "VM.Config.Options", "tag VMs"},
    {"/vms", "VM.PowerMgmt", "start and stop VMs"},
    {"/vms", "VM.Snapshot", "take snapshots"},
};

/// By its record other machines know whether a run lives (run_record.hpp).
const std::vector<Need> needs_of_records{
    {"/pool", "Pool.Allocate", "show other machines that a run lives"},
    {"/pool", "Pool.Audit", "see whether other machines' runs live"},
};

awaitable<bool> look_at_server(pve::Client& client, std::vector<Finding>& out) {
  const auto& instance = client.instance();
  const auto who = instance.token_id.empty() ? instance.user + "@" + instance.realm
                                             : "token " + instance.token_id;
  try {
    const auto version = co_await pve::server_version(client);
    out.push_back(
        {State::fine, "reachable", fmt::format("{}:{}", instance.host, instance.port), ""});
    const bool unchecked = !instance.verify_tls && instance.fingerprint.empty();
    out.push_back({unchecked ? State::warning : State::fine, "TLS",
                   unchecked                       ? "the certificate is not checked"
                   : !instance.fingerprint.empty() ? "the certificate has the pinned fingerprint"
                                                   : "the certificate is trusted",
                   unchecked ? "Set PROXMOX_FINGERPRINT or PROXMOX_CA_FILE." : ""});
    out.push_back({State::fine, "login", who, ""});
    const bool old = version < oldest;
    out.push_back({old ? State::bad : State::fine, "version", version.text(),
                   old ? fmt::format("Proxmox VE {} or later is needed.", oldest.text()) : ""});
    co_return true;
  } catch (const Error& error) {
    const bool tls = error.kind == Errc::tls;
    const bool answered = error.sent == Sent::answered || error.kind == Errc::auth;
    out.push_back({State::bad,
                   tls        ? "TLS"
                   : answered ? "login"
                              : "reachable",
                   fmt::format("{}:{}: {}", instance.host, instance.port, error.said), error.hint});
    co_return false;
  }
}

awaitable<bool> look_at_node(pve::Client& client, std::vector<Finding>& out) {
  const std::string& wanted = client.instance().node;
  std::vector<std::string> names;
  bool online = false;
  bool found = false;
  for (const auto& node : co_await pve::nodes::list(client)) {
    names.push_back(node.name.text());
    if (node.name.text() != wanted) continue;
    found = true;
    online = node.online;
  }
  if (!found) {
    out.push_back({State::bad, "node", fmt::format("there is no node {}", wanted),
                   fmt::format("Set PROXMOX_NODE to one of: {}", fmt::join(names, ", "))});
  } else {
    out.push_back({online ? State::fine : State::bad, "node",
                   fmt::format("{} is {}", wanted, online ? "online" : "offline"), ""});
  }
  co_return found&& online;
}

awaitable<void> look_at_storages(pve::Client& client, std::vector<Finding>& out) {
  const auto node = pve::NodeName::parse(client.instance().node);
  const std::string& disks = client.instance().image_storage;
  const auto storages = co_await pve::storage::list(client, node);
  std::vector<std::string> with_images;
  bool disks_found = false;
  for (const auto& storage : storages) {
    if (storage.active && storage.holds("images")) with_images.push_back(storage.id.text());
    disks_found =
        disks_found || (storage.active && storage.id.text() == disks && storage.holds("images"));
  }
  out.push_back({disks_found ? State::fine : State::bad, "storage for disks",
                 disks_found ? disks : fmt::format("{} holds no images on this node", disks),
                 disks_found ? ""
                             : fmt::format("Set PROXMOX_IMAGE_STORAGE to one of: {}",
                                           fmt::join(with_images, ", "))});
  const auto look_for = [&](std::string_view content, State otherwise, std::string_view purpose) {
    const auto it = std::find_if(storages.begin(), storages.end(), [&](const auto& storage) {
      return storage.active && storage.holds(content);
    });
    const bool found = it != storages.end();
    out.push_back({found ? State::fine : otherwise, fmt::format("storage for {}", purpose),
                   found ? it->id.text() : fmt::format("none has the content type {}", content),
                   found ? ""
                         : fmt::format("On the server: pvesm set local --content "
                                       "iso,vztmpl,backup,import")});
  };
  look_for("import", State::bad, "disk images");
  look_for("iso", State::warning, "large files on their way into guests");
}

awaitable<void> look_at_permissions(pve::Client& client, const pve::Version& version,
                                    std::vector<Finding>& out) {
  auto needs = needs_of_vms;
  // Version 9 split VM.Monitor (pve-facts section 15).
  needs.push_back({"/vms", version.major >= 9 ? "VM.GuestAgent.Unrestricted" : "VM.Monitor",
                   "run commands in guests"});
  needs.push_back(
      {"/storage/" + client.instance().image_storage, "Datastore.AllocateSpace", "make disks"});
  const auto held = co_await pve::access::permissions(client);
  out.push_back(look_at_rights(held, "permissions", needs));
  auto records = look_at_rights(held, "records of runs", needs_of_records);
  if (records.state == State::bad) records.state = State::warning;  // all else works without
  out.push_back(std::move(records));
}

}  // namespace

awaitable<std::vector<Finding>> examine(asio::thread_pool& pool, pve::Instance instance) {
  std::vector<Finding> out;
  const auto executor = co_await asio::this_coro::executor;
  try {
    pve::Client client{executor, pool, std::move(instance)};
    if (co_await look_at_server(client, out) && co_await look_at_node(client, out)) {
      co_await look_at_storages(client, out);
      co_await look_at_permissions(client, co_await pve::server_version(client), out);
      for (auto& finding : co_await examine_networks(client)) out.push_back(std::move(finding));
    }
    co_await client.close();
  } catch (const Error& error) {
    out.push_back({State::bad, "examination", error.what(), error.hint});
  }
  co_return out;
}

}  // namespace px::sandbox
