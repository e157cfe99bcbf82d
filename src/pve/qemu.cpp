#include "pve/qemu.hpp"

#include "pve/once.hpp"

#include <fmt/format.h>

namespace px::pve::qemu {

namespace {

constexpr std::chrono::milliseconds lock_pause{500};
constexpr int most_sends = 3;

TaskCall call_on(const VmRef& vm, std::string_view rest, std::string type, Deadline deadline,
                 std::string doing) {
  return {.method = "POST",
          .path = path_of(vm, rest),
          .params = {},
          .node = vm.node,
          .type = std::move(type),
          .vmid = vm.vmid,
          .deadline = deadline,
          .doing = std::move(doing)};
}

/// A copy for another node is moved there at the end (qemu-server API2/Qemu.pm, clone_vm).
awaitable<std::optional<VmConfigMap>> config_of_copy(Client& client, const VmRef& source,
                                                     const Clone& what) {
  const VmRef copy{what.target.value_or(source.node), what.new_id};
  auto found = co_await config_if_there(client, copy);
  if (!found && copy.node != source.node) {
    found = co_await config_if_there(client, {source.node, what.new_id});
  }
  co_return found;
}

/// Follows a clone whose answer was lost by the copy's configuration. False when it surely did
/// not start.
awaitable<bool> follow_copy(Client& client, const VmRef& source, const Clone& what,
                            Deadline deadline, const std::string& doing) {
  constexpr std::array pauses{std::chrono::milliseconds{100}, std::chrono::milliseconds{400},
                              std::chrono::milliseconds{1000}, std::chrono::milliseconds{3000}};
  std::optional<VmConfigMap> found;
  for (std::size_t i = 0; !found && i < pauses.size(); ++i) {
    co_await sleep_for(pauses[i]);
    found = co_await config_of_copy(client, source, what);
  }
  if (!found) co_return false;
  for (auto pause = TaskWait::first_pause; found && !found->get("lock").empty();
       pause = std::min(pause * 3 / 2, TaskWait::longest_pause)) {
    const auto now = std::chrono::steady_clock::now();
    if (deadline.passed(now)) {
      throw Error{Errc::timeout, fmt::format("VM {} is still locked by the clone", what.new_id)}
          .while_doing(doing)
          .with_sent(Sent::maybe);
    }
    co_await sleep_for(std::min<std::chrono::steady_clock::duration>(pause, deadline.left(now)));
    found = co_await config_of_copy(client, source, what);
  }
  if (!found) {
    throw Error{Errc::task_failed, "the server gave the copy up"}.while_doing(doing).with_sent(
        Sent::answered);
  }
  // The server ends a description with a line feed.
  const auto description = found->get("description");
  const bool is_ours = (what.name.empty() || found->get("name") == what.name) &&
                       description.starts_with(what.description);
  if (!is_ours) {
    throw Error{Errc::already_exists, fmt::format("VM {} belongs to someone else", what.new_id)}
        .while_doing(doing)
        .with_sent(Sent::answered);
  }
  co_return true;
}

/// False when the task could not lock the source: then the copy is gone again.
awaitable<bool> clone_once(Client& client, const VmRef& source, const Clone& what,
                           const Params& params, Deadline deadline, const std::string& doing) {
  for (int sends = 1;; ++sends) {
    std::optional<Error> lost;
    std::optional<Upid> upid;
    try {
      const auto data =
          co_await client.post(path_of(source, "/clone"), params,
                               {.deadline = deadline, .wait_for_lock = true, .doing = doing});
      if (!data.is_string()) throw Error{Errc::protocol, "the answer names no task"};
      upid = Upid::parse(std::string_view{data.get_string()});
    } catch (const Error& e) {
      if (!answer_was_lost(e)) throw;
      lost = e;
    }
    if (upid) {
      client.remember(*upid);
      co_return co_await wait_unless_locked(client, *upid, deadline, doing);
    }
    if (co_await follow_copy(client, source, what, deadline, doing)) co_return true;
    if (sends == most_sends) throw *std::move(lost);
  }
}

}  // namespace

std::string path_of(const VmRef& vm, std::string_view rest) {
  return fmt::format("/nodes/{}/qemu/{}{}", vm.node, vm.vmid, rest);
}

std::vector<std::string> split_tags(std::string_view text) {
  std::vector<std::string> tags;
  constexpr std::string_view separators = ";, ";
  for (auto begin = text.find_first_not_of(separators); begin != std::string_view::npos;) {
    const auto end = text.find_first_of(separators, begin);
    tags.emplace_back(text.substr(begin, end == std::string_view::npos ? end : end - begin));
    begin = text.find_first_not_of(separators, end);
  }
  return tags;
}

bool is_card(std::string_view option) noexcept {
  return option.size() > 3 && option.starts_with("net") &&
         option.find_first_not_of("0123456789", 3) == std::string_view::npos;
}

std::string VmConfigMap::get(std::string_view option) const {
  const auto found = values.find(std::string{option});
  return found == values.end() ? std::string{} : found->second;
}

awaitable<std::vector<VmSummary>> list(Client& client, NodeName node) {
  const auto data = co_await client.get(fmt::format("/nodes/{}/qemu", node));
  std::vector<VmSummary> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    out.push_back({.vmid = Vmid::from_number(json::number_at(entry, "vmid")),
                   .name = json::text_or(entry, "name"),
                   .tags = split_tags(json::text_or(entry, "tags")),
                   .status = json::text_or(entry, "status"),
                   .is_template = json::flag_or(entry, "template", false),
                   .lock = json::text_or(entry, "lock"),
                   .memory = json::number_or(entry, "maxmem", 0)});
  }
  co_return out;
}

awaitable<VmConfigMap> config(Client& client, VmRef vm) {
  const auto data = co_await client.get(path_of(vm, "/config"), {}, {.load = Load::light});
  VmConfigMap out;
  if (!data.is_object()) co_return out;
  for (const auto& [option, value] : data.get_object()) {
    out.values[option] = json::text_or(data, option);
  }
  if (const auto digest = out.values.extract("digest")) out.digest = digest.mapped();
  co_return out;
}

awaitable<std::optional<VmConfigMap>> config_if_there(Client& client, VmRef vm) {
  try {
    co_return co_await config(client, vm);
  } catch (const Error& error) {
    if (error.kind != Errc::not_found) throw;
  }
  co_return std::nullopt;
}

awaitable<VmStatus> status(Client& client, VmRef vm, CallOptions options) {
  const auto data = co_await client.get(path_of(vm, "/status/current"), {}, std::move(options));
  VmStatus out;
  out.running = json::text_at(data, "status") == "running";
  out.qmp_status = json::text_or(data, "qmpstatus");
  out.lock = json::text_or(data, "lock");
  out.agent_configured = json::flag_or(data, "agent", false);
  out.is_template = json::flag_or(data, "template", false);
  out.uptime = json::number_or(data, "uptime", 0);
  out.cpu_pressure = json::real_or(data, "pressurecpusome", 0);
  co_return out;
}

awaitable<Upid> create(Client& client, VmRef vm, Params config, Deadline deadline) {
  auto call =
      call_on(vm, "", "qmcreate", deadline, fmt::format("create VM {} on {}", vm.vmid, vm.node));
  call.path = fmt::format("/nodes/{}/qemu", vm.node);
  call.params = std::move(config.add("vmid", vm.vmid));
  return post_task_once(client, std::move(call));
}

awaitable<Upid> restore(Client& client, VmRef vm, VolumeId archive, Params config,
                        Deadline deadline) {
  auto call = call_on(vm, "", "qmrestore", deadline,
                      fmt::format("restore {} as VM {} on {}", archive, vm.vmid, vm.node));
  call.path = fmt::format("/nodes/{}/qemu", vm.node);
  // unique: cards with MACs of their own, for the backup's VM may still live.
  call.params =
      std::move(config.add("vmid", vm.vmid).add("archive", archive.text()).add("unique", true));
  return post_task_once(client, std::move(call));
}

awaitable<void> clone(Client& client, VmRef source, Clone what, Deadline deadline) {
  const auto doing = fmt::format("clone VM {} -> {} on {}", source.vmid, what.new_id, source.node);
  Params params;
  params.add("newid", what.new_id)
      .add_if(!what.name.empty(), "name", what.name)
      .add_if(!what.description.empty(), "description", what.description)
      .add_if(!what.pool.empty(), "pool", what.pool)
      .add("full", what.full)
      .add("storage", what.storage)
      .add("snapname", what.snapshot)
      .add("target", what.target);
  while (!co_await clone_once(client, source, what, params, deadline, doing)) {
    co_await sleep_for(lock_pause);
  }
}

awaitable<Upid> make_template(Client& client, VmRef vm, Deadline deadline) {
  return post_task_once(client, call_on(vm, "/template", "qmtemplate", deadline,
                                        fmt::format("make VM {} a template", vm.vmid)));
}

awaitable<void> set_config(Client& client, VmRef vm, Params changes, Deadline deadline) {
  co_await client.put(path_of(vm, "/config"), std::move(changes),
                      {.deadline = deadline,
                       .repeatable = true,
                       .wait_for_lock = true,
                       .doing = fmt::format("configure VM {}", vm.vmid)});
}

awaitable<Upid> set_config_in_task(Client& client, VmRef vm, Params changes, Deadline deadline) {
  auto call = call_on(vm, "/config", "qmconfig", deadline, fmt::format("configure VM {}", vm.vmid));
  call.params = std::move(changes);
  return post_task_once(client, std::move(call));
}

awaitable<bool> set_config_if_unchanged(Client& client, VmRef vm, Params changes,
                                        std::string digest, Deadline deadline) {
  // Not sent again when its answer is lost: our own change would look like someone else's.
  changes.add("digest", digest);
  try {
    co_await client.put(path_of(vm, "/config"), std::move(changes),
                        {.deadline = deadline,
                         .wait_for_lock = true,
                         .doing = fmt::format("configure VM {}", vm.vmid)});
    co_return true;
  } catch (const Error& error) {
    // qemu-server, PVE::Tools::assert_if_modified.
    if (error.said.find("checksum mismatch") == std::string::npos) throw;
  }
  co_return false;
}

awaitable<Upid> resize(Client& client, VmRef vm, std::string disk, int gib, Deadline deadline) {
  auto call = call_on(vm, "/resize", "resize", deadline,
                      fmt::format("grow {} of VM {} to {} GiB", disk, vm.vmid, gib));
  call.method = "PUT";
  call.params.add("disk", disk).add("size", fmt::format("{}G", gib));
  return post_task_once(client, std::move(call));
}

awaitable<Upid> start(Client& client, VmRef vm, Deadline deadline) {
  return post_task_once(client, call_on(vm, "/status/start", "qmstart", deadline,
                                        fmt::format("start VM {}", vm.vmid)));
}

awaitable<Upid> stop(Client& client, VmRef vm, Deadline deadline) {
  return post_task_once(
      client, call_on(vm, "/status/stop", "qmstop", deadline, fmt::format("stop VM {}", vm.vmid)));
}

awaitable<Upid> shutdown(Client& client, VmRef vm, std::chrono::seconds patience, bool force,
                         Deadline deadline) {
  auto call = call_on(vm, "/status/shutdown", "qmshutdown", deadline,
                      fmt::format("shut down VM {}", vm.vmid));
  call.params.add("timeout", patience.count()).add("forceStop", force);
  return post_task_once(client, std::move(call));
}

awaitable<Upid> destroy(Client& client, VmRef vm, Deadline deadline) {
  auto call = call_on(vm, "", "qmdestroy", deadline, fmt::format("destroy VM {}", vm.vmid));
  call.method = "DELETE";
  call.params.add("purge", true).add("destroy-unreferenced-disks", true);
  return post_task_once(client, std::move(call));
}

}  // namespace px::pve::qemu
