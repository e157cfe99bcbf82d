#include "sandbox/sandbox.hpp"

#include "sandbox/isolation_probe.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

namespace px::sandbox {

Sandbox::Sandbox(std::shared_ptr<Place> place, const Spec& spec, const RunId& run,
                 const std::string& task, const std::string& sample)
    : place_{std::move(place)},
      host_{place_->host()},
      plan_{spec.networks},
      verify_isolation_{spec.verify_isolation},
      task_{task} {
  for (std::size_t i = 0; i < spec.vms.size(); ++i) {
    const auto& vm = spec.vms[i];
    const auto name = vm.name.value_or(i == 0 ? "default" : fmt::format("vm-{}", i + 1));
    Mark mark{.run = run.text, .object = random_hex(16), .task = task, .sample = sample};
    vms_.push_back(std::make_shared<Vm>(host_, vm, name, std::move(mark)));
    awaited_.push_back(vm.await_before_next_vm);
  }
}

awaitable<void> Sandbox::bring_up() {
  return with_undo(bring_up_in_its_place(), undo_bring_up());
}

awaitable<void> Sandbox::bring_up_in_its_place() {
  try {
    co_await bring_up_in_order();
  } catch (const Error& error) {
    if (!is_made() && is_servers_fault(error, false)) place_->could_not_start();
    throw;
  }
}

awaitable<void> Sandbox::undo_bring_up() {
  try {
    co_await destroy();
  } catch (const Error& error) {
    log::error("a start that failed could not be undone: {}", error.what());
  }
}

awaitable<void> Sandbox::bring_up_in_order() {
  plan_ = co_await host_->server().possible(plan_);
  networks_ = co_await host_->server().leases().lease(plan_, task_);
  for (const auto& vm : vms_) {
    vm->join(plan_, networks_);
    vm->when_started([this] { count_start(); });
  }
  std::vector<awaitable<void>> side_by_side;
  for (std::size_t i = 0; i < vms_.size(); ++i) {
    side_by_side.push_back(vms_[i]->bring_up());
    if (awaited_[i] || i + 1 == vms_.size()) co_await all(std::exchange(side_by_side, {}));
  }
  if (verify_isolation_ && networks_) co_await check_isolation();
}

/// Once for each kind of networks; the samples beside the first wait for what it finds.
awaitable<void> Sandbox::check_isolation() {
  const auto permit = co_await host_->one_probe.acquire();
  if (!networks_->plan.isolation.closed || host_->probed.contains(networks_->key)) co_return;
  co_await verify_isolation(*host_, *networks_, vms_);
  host_->probed.insert(networks_->key);
}

/// Others may start as soon as the server has done its part; booting is the guests' own.
void Sandbox::count_start() {
  if (++started_ != vms_.size() || !place_) return;
  double slowest = 0;
  for (const auto& vm : vms_) {
    const auto steps = vm->timings();
    slowest = std::max(slowest, steps.at("clone") + steps.at("configure") + steps.at("start"));
  }
  place_->started(std::chrono::duration<double>{slowest});
}

awaitable<void> Sandbox::destroy() {
  const auto began = std::chrono::steady_clock::now();
  try {
    co_await destroy_all();
  } catch (const Error& error) {
    is_left_ = true;
    auto told = error;
    told.doing = "clean-up";
    set_aside(*host_, told, began);
    throw;
  }
}

awaitable<void> Sandbox::destroy_all() {
  if (gone_) co_return;
  std::vector<awaitable<void>> work;
  for (const auto& vm : vms_) work.push_back(vm->destroy());
  co_await all(std::move(work), false);
  host_->server().leases().give_back(std::exchange(networks_, nullptr));
  gone_ = true;
  is_left_ = false;
  place_.reset();
}

void Sandbox::leave() {
  place_.reset();
}

}  // namespace px::sandbox
