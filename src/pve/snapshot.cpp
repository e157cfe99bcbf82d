#include "pve/snapshot.hpp"

#include "pve/qemu.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::pve::snapshot {

namespace {

TaskCall call_on(const VmRef& vm, std::string_view rest, std::string type, Deadline deadline,
                 std::string doing) {
  return {.method = "POST",
          .path = qemu::path_of(vm, fmt::format("/snapshot{}", rest)),
          .params = {},
          .node = vm.node,
          .type = std::move(type),
          .vmid = vm.vmid,
          .deadline = deadline,
          .doing = std::move(doing)};
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

void check_name(std::string_view name) {
  const bool is_fine = name.size() >= 2 && name.size() <= 40 && is_letter(name.front()) &&
                       name != "current" && name != "pending" &&
                       std::ranges::all_of(name, [](char c) {
                         return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_';
                       });
  if (!is_fine) {
    throw_bad_input("snapshot", name,
                    "a snapshot's name is 2 to 40 letters, digits, '-' and '_', a letter first, "
                    "and not \"current\" or \"pending\"");
  }
}

awaitable<std::vector<Snapshot>> list(Client& client, VmRef vm) {
  const auto data = co_await client.get(qemu::path_of(vm, "/snapshot"));
  std::vector<Snapshot> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    auto name = json::text_at(entry, "name");
    if (name == "current") continue;
    out.push_back({.name = std::move(name),
                   .description = json::text_or(entry, "description"),
                   .parent = json::text_or(entry, "parent"),
                   .time = json::number_or(entry, "snaptime", 0),
                   .with_memory = json::flag_or(entry, "vmstate", false)});
  }
  co_return out;
}

awaitable<Upid> create(Client& client, VmRef vm, std::string name, bool with_memory,
                       std::string description, Deadline deadline) {
  check_name(name);
  auto call = call_on(vm, "", "qmsnapshot", deadline,
                      fmt::format("take snapshot {} of VM {}", name, vm.vmid));
  call.params.add("snapname", name)
      .add("vmstate", with_memory)
      .add_if(!description.empty(), "description", description);
  return post_task_once(client, std::move(call));
}

awaitable<Upid> rollback(Client& client, VmRef vm, std::string name, Deadline deadline) {
  check_name(name);
  return post_task_once(client,
                        call_on(vm, fmt::format("/{}/rollback", name), "qmrollback", deadline,
                                fmt::format("roll VM {} back to snapshot {}", vm.vmid, name)));
}

awaitable<Upid> remove(Client& client, VmRef vm, std::string name, Deadline deadline) {
  check_name(name);
  auto call = call_on(vm, fmt::format("/{}", name), "qmdelsnapshot", deadline,
                      fmt::format("remove snapshot {} of VM {}", name, vm.vmid));
  call.method = "DELETE";
  return post_task_once(client, std::move(call));
}

}  // namespace px::pve::snapshot
