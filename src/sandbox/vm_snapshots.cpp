#include "guest/vm_watch.hpp"
#include "pve/snapshot.hpp"
#include "pve/tasks.hpp"
#include "sandbox/sandbox.hpp"
#include "support/json.hpp"

#include <fmt/format.h>

namespace px::sandbox {

using namespace std::chrono_literals;

namespace {

constexpr auto snapshot_limit = 5min;

/// "one, two" or "none".
awaitable<std::string> snapshot_names(pve::Client& client, pve::VmRef vm) {
  std::vector<std::string> names;
  for (const auto& snapshot : co_await pve::snapshot::list(client, vm)) {
    names.push_back(snapshot.name);
  }
  co_return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

/// Waits for the task that `request` begins. A name that is missing or taken is the caller's
/// mistake, and no reason to give the VM up.
awaitable<void> Vm::change_snapshot(std::string name, std::string what,
                                    awaitable<pve::Upid> request, Deadline limit) {
  auto& client = host_->client();
  std::optional<Error> failure;
  try {
    const auto upid = co_await std::move(request);
    co_await pve::wait_for_task(client, upid, limit,
                                fmt::format("{} {} of {}", what, name, text()));
    co_return;
  } catch (const Error& error) {
    failure = error;
  }
  if (failure->kind != Errc::not_found && failure->kind != Errc::already_exists) throw *failure;
  const bool taken = failure->kind == Errc::already_exists;
  const auto names = co_await snapshot_names(client, *vm_);
  throw_bad_input("snapshot", name,
                  fmt::format("{} has {}{}", text(), names, taken ? " already" : ""));
}

awaitable<void> Vm::create_snapshot(std::string name, std::string description) {
  auto run = [](std::shared_ptr<Vm> self, std::string label, std::string note) -> awaitable<void> {
    self->guest();
    const auto limit = Deadline::after(snapshot_limit);
    co_await self->change_snapshot(
        label, "snapshot",
        pve::snapshot::create(self->host_->client(), *self->vm_, label, true, note, limit), limit);
  };
  return run(shared_from_this(), std::move(name), std::move(description));
}

awaitable<void> Vm::restore_snapshot(std::string name) {
  auto run = [](std::shared_ptr<Vm> self, std::string label) -> awaitable<void> {
    self->guest();
    const auto limit = Deadline::after(snapshot_limit);
    co_await self->change_snapshot(
        label, "restore", pve::snapshot::rollback(self->host_->client(), *self->vm_, label, limit),
        limit);
    co_await self->wait_for_agent();
    co_await self->open_guest(guest::VmWatch::patience_with_a_guest);
  };
  return run(shared_from_this(), std::move(name));
}

awaitable<void> Vm::delete_snapshot(std::string name) {
  auto run = [](std::shared_ptr<Vm> self, std::string label) -> awaitable<void> {
    self->guest();
    const auto limit = Deadline::after(snapshot_limit);
    co_await self->change_snapshot(
        label, "delete snapshot",
        pve::snapshot::remove(self->host_->client(), *self->vm_, label, limit), limit);
  };
  return run(shared_from_this(), std::move(name));
}

awaitable<std::string> Vm::list_snapshots() {
  auto run = [](std::shared_ptr<Vm> self) -> awaitable<std::string> {
    json::array out;
    for (const auto& item : co_await pve::snapshot::list(self->host_->client(), *self->vm_)) {
      out.push_back(json::object{{"name", item.name},
                                 {"description", item.description},
                                 {"parent", item.parent},
                                 {"snaptime", item.time},
                                 {"vmstate", item.with_memory}});
    }
    co_return boost::json::serialize(out);
  };
  return run(shared_from_this());
}

}  // namespace px::sandbox
