#include "node/vm/power_routes.hpp"

#include "support/log.hpp"

namespace px::node {

namespace {

/// Seconds that a guest gets to power off; PVE's default.
constexpr std::int64_t default_shutdown_timeout = 60;

const Param skiplock{.name = "skiplock", .type = ParamType::boolean};
const Param timeout{.name = "timeout", .type = ParamType::integer, .minimum = 0};

std::chrono::seconds shutdown_timeout(const Call& call) {
  return std::chrono::seconds{call.number_or("timeout", default_shutdown_timeout)};
}

}  // namespace

void PowerRoutes::add_routes(Router& router) {
  const auto add = [&](const char* method, const char* name, std::vector<Param> params,
                       awaitable<json::value> (PowerRoutes::*handler)(Call&)) {
    add_vm_route(router, shared_from_this(), method, std::string{"/{vmid}/status"} + name,
                 std::move(params), handler);
  };
  add_vm_route(router, shared_from_this(), "GET", "/{vmid}/status", {}, &PowerRoutes::index, false);
  add("GET", "/current", {}, &PowerRoutes::current);
  add("POST", "/start", {skiplock, timeout}, &PowerRoutes::start);
  add("POST", "/stop", {skiplock, timeout}, &PowerRoutes::stop);
  add("POST", "/shutdown", {skiplock, timeout, {.name = "forceStop", .type = ParamType::boolean}},
      &PowerRoutes::shutdown);
  add("POST", "/reboot", {timeout}, &PowerRoutes::reboot);
  add("POST", "/reset", {skiplock}, &PowerRoutes::reset);
  add("POST", "/suspend", {skiplock}, &PowerRoutes::suspend);
  add("POST", "/resume", {skiplock}, &PowerRoutes::resume);
}

awaitable<json::value> PowerRoutes::index(Call& /*call*/) {
  json::array out;
  for (const auto* name :
       {"current", "start", "stop", "reset", "shutdown", "suspend", "resume", "reboot"}) {
    out.push_back(json::object{{"subdir", name}});
  }
  co_return out;
}

awaitable<json::value> PowerRoutes::current(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  try {
    co_await vm->machine->refresh();
  } catch (const Error& error) {
    log::debug("VM {} does not say how it is: {}", vm->id, error.said);
  }
  json::object out = services_.vms.summary(*vm, true);
  if (agent_enabled(vm->config.current)) out["agent"] = 1;
  if (vm->machine->status().running) out["running-qemu"] = services_.vms.qemu_version();
  out["ha"] = json::object{{"managed", 0}};
  out["clipboard"] = nullptr;
  co_return out;
}

awaitable<json::value> PowerRoutes::start(Call& call) {
  const bool skip_lock = VmServices::skip_lock(call);
  co_return services_.start_locked(
      "qmstart", services_.vms.of(call), call.user, skip_lock,
      [&services = services_](VmPtr vm, TaskLog& log) { return services.power_on(vm, log); });
}

awaitable<json::value> PowerRoutes::stop(Call& call) {
  const bool skip_lock = VmServices::skip_lock(call);
  co_return services_.start_locked(
      "qmstop", services_.vms.of(call), call.user, skip_lock,
      [](VmPtr vm, TaskLog&) -> awaitable<void> { co_await vm->machine->stop(); });
}

awaitable<json::value> PowerRoutes::shutdown(Call& call) {
  const bool skip_lock = VmServices::skip_lock(call);
  co_return services_.start_locked("qmshutdown", services_.vms.of(call), call.user, skip_lock,
                                   [span = shutdown_timeout(call), force = call.flag("forceStop")](
                                       VmPtr vm, TaskLog& log) -> awaitable<void> {
                                     bool ended = true;
                                     try {
                                       co_await vm->machine->shutdown(Deadline::after(span));
                                     } catch (const Error& error) {
                                       if (!force || error.kind != Errc::timeout) throw;
                                       log.line("VM still running - terminating now with SIGTERM");
                                       ended = false;
                                     }
                                     if (!ended) co_await vm->machine->stop();
                                   });
}

VmPtr PowerRoutes::running(const Call& call) const {
  VmPtr vm = services_.vms.of(call);
  if (!vm->machine->status().running) {
    throw ApiError{500, fmt::format("VM {} not running", vm->id)};
  }
  return vm;
}

awaitable<json::value> PowerRoutes::reboot(Call& call) {
  co_return services_.start_locked("qmreboot", running(call), call.user, false,
                                   [&services = services_, span = shutdown_timeout(call)](
                                       VmPtr vm, TaskLog& log) -> awaitable<void> {
                                     co_await vm->machine->shutdown(Deadline::after(span));
                                     co_await services.power_on(vm, log);
                                   });
}

awaitable<json::value> PowerRoutes::reset(Call& call) {
  const bool skip_lock = VmServices::skip_lock(call);
  co_return services_.start_locked(
      "qmreset", running(call), call.user, skip_lock,
      [](VmPtr vm, TaskLog&) -> awaitable<void> { co_await vm->machine->reset(); });
}

awaitable<json::value> PowerRoutes::suspend(Call& call) {
  const bool skip_lock = VmServices::skip_lock(call);
  co_return services_.start_locked(
      "qmpause", running(call), call.user, skip_lock,
      [](VmPtr vm, TaskLog&) -> awaitable<void> { co_await vm->machine->suspend(); });
}

awaitable<json::value> PowerRoutes::resume(Call& call) {
  const bool skip_lock = VmServices::skip_lock(call);
  co_return services_.start_locked(
      "qmresume", running(call), call.user, skip_lock,
      [](VmPtr vm, TaskLog&) -> awaitable<void> { co_await vm->machine->resume(); });
}

}  // namespace px::node
