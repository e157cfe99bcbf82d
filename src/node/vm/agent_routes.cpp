#include "node/vm/agent_routes.hpp"

#include "support/bytes.hpp"

#include <algorithm>
#include <array>

namespace px::node {

namespace {

using namespace std::chrono_literals;

/// One read of the agent; PVE's step.
constexpr std::int64_t read_step = 1 << 20;
constexpr std::int64_t most_read = 16 << 20;
/// Pause between two looks at a command that runs: busier polling slows the guest, lazier polling
/// the caller (guest-facts section 2).
constexpr auto status_pause = 8ms;
/// Commands that may take long by nature (PVE gives them minutes).
constexpr auto slow_limit = 10min;

/// Commands without arguments whose answer is passed on as it is: those by GET, those by POST.
constexpr std::array<std::string_view, 11> questions{"info",
                                                     "get-fsinfo",
                                                     "get-host-name",
                                                     "get-memory-block-info",
                                                     "get-memory-blocks",
                                                     "get-osinfo",
                                                     "get-time",
                                                     "get-timezone",
                                                     "get-users",
                                                     "get-vcpus",
                                                     "network-get-interfaces"};
constexpr std::array<std::string_view, 9> orders{
    "ping",     "fsfreeze-freeze", "fsfreeze-status", "fsfreeze-thaw", "fstrim",
    "shutdown", "suspend-disk",    "suspend-hybrid",  "suspend-ram"};

/// Whether a UTF-8 text has a character above U+00FF: its lead byte is above 0xC3.
bool is_wide(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) > 0xC3; });
}

/// Request text as the bytes it stands for; throws what Perl says of a wide character.
std::string to_bytes(const std::string& text) {
  if (is_wide(text)) {
    throw ApiError{500,
                   "Wide character in subroutine entry at /usr/share/perl5/PVE/API2/Qemu/Agent.pm "
                   "line 624."};
  }
  return utf8_to_latin1(text);
}

std::string decoded(const json::value& answer, std::string_view key) {
  return latin1_to_utf8(from_base64(json::text_or(answer, key)));
}

}  // namespace

void AgentRoutes::add_routes(Router& router) {
  using enum ParamType;
  const auto add = [&](const char* method, const char* name, std::vector<Param> params,
                       awaitable<json::value> (AgentRoutes::*handler)(Call&)) {
    add_vm_route(router, shared_from_this(), method, std::string{"/{vmid}/agent"} + name,
                 std::move(params), handler);
  };
  std::vector<std::string> names{orders.begin(), orders.end()};
  names.insert(names.end(), questions.begin(), questions.end());
  std::sort(names.begin(), names.end());
  add_vm_route(router, shared_from_this(), "GET", "/{vmid}/agent", {}, &AgentRoutes::index, false);
  add("POST", "", {{.name = "command", .required = true, .one_of = names}},
      &AgentRoutes::any_command);
  for (const auto& [method, list] :
       {std::pair{"GET", std::vector<std::string_view>{questions.begin(), questions.end()}},
        std::pair{"POST", std::vector<std::string_view>{orders.begin(), orders.end()}}}) {
    for (const auto name : list) {
      router.add({.method = method,
                  .path = fmt::format("/nodes/{{node}}/qemu/{{vmid}}/agent/{}", name),
                  .params = {},
                  .handler = [self = shared_from_this(),
                              name = std::string{name}](Call& call) -> awaitable<json::value> {
                    VmPtr vm = co_await self->ready(call);
                    co_return co_await self->simple(vm, name);
                  },
                  .is_protected = true});
    }
  }
  add("POST", "/exec",
      {{.name = "command", .type = array, .required = true},
       {.name = "input-data", .max_length = 65536}},
      &AgentRoutes::exec);
  add("GET", "/exec-status", {{.name = "pid", .type = integer, .required = true}},
      &AgentRoutes::exec_status);
  add("GET", "/file-read",
      {{.name = "file", .required = true},
       {.name = "count", .type = integer, .minimum = 1, .maximum = most_read},
       {.name = "decode", .type = boolean},
       {.name = "offset", .type = integer, .minimum = 0}},
      &AgentRoutes::file_read);
  add("POST", "/file-write",
      {{.name = "file", .required = true},
       {.name = "content", .required = true, .max_length = 61440},
       {.name = "encode", .type = boolean}},
      &AgentRoutes::file_write);
}

awaitable<json::value> AgentRoutes::index(Call& /*call*/) {
  std::vector<std::string> names{"exec", "exec-status", "file-read", "file-write"};
  names.insert(names.end(), orders.begin(), orders.end());
  names.insert(names.end(), questions.begin(), questions.end());
  std::sort(names.begin(), names.end());
  json::array out;
  for (const auto& name : names) out.push_back(json::object{{"name", name}});
  co_return out;
}

awaitable<VmPtr> AgentRoutes::ready(const Call& call) const {
  const VmPtr vm = services_.vms.of(call);
  if (!agent_enabled(vm->config.current)) {
    throw ApiError{500, "No QEMU guest agent configured"};
  }
  const MachineStatus status = vm->machine->status();
  if (!status.running) throw ApiError{500, fmt::format("VM {} is not running", vm->id)};
  try {
    co_await vm->machine->agent().call("guest-ping", {}, services_.vms.agent_limits().ping);
  } catch (const Error&) {
    throw ApiError{500, "QEMU guest agent is not running"};
  }
  co_return vm;
}

awaitable<json::value> AgentRoutes::run(VmPtr vm, std::string command,
                                        json::object arguments) const {
  const bool slow = command == "guest-fstrim" || command.starts_with("guest-fsfreeze");
  std::string said;
  try {
    co_return co_await vm->machine->agent().call(
        command, std::move(arguments),
        slow ? std::chrono::milliseconds{slow_limit} : services_.vms.agent_limits().command);
  } catch (const Error& error) {
    if (error.kind != Errc::rejected) {
      throw ApiError{500,
                     fmt::format("VM {} qga command '{}' failed - got timeout", vm->id, command)};
    }
    said = error.said;
  }
  // The real server's worker dies of a message that Latin-1 can't hold, such as the curly quotes
  // around a program that does not exist; its client sees that 5 s later.
  if (is_wide(said)) {
    co_await sleep_for(services_.vms.agent_limits().broken_pipe);
    throw ApiError{596, "Broken pipe"};
  }
  throw ApiError{500, "Agent error: " + said};
}

awaitable<json::value> AgentRoutes::simple(VmPtr vm, std::string name) const {
  if (name == "shutdown" || name.starts_with("suspend")) {
    // A guest that goes down does not answer.
    try {
      co_await vm->machine->agent().call("guest-" + name, {}, 500ms);
    } catch (const Error& error) {
      if (error.kind == Errc::rejected) throw ApiError{500, "Agent error: " + error.said};
    }
    co_return json::object{{"result", nullptr}};
  }
  json::value result = co_await run(vm, "guest-" + name);
  co_return json::object{{"result", std::move(result)}};
}

awaitable<json::value> AgentRoutes::any_command(Call& call) {
  const VmPtr vm = co_await ready(call);
  co_return co_await simple(vm, call.text("command"));
}

awaitable<json::value> AgentRoutes::exec(Call& call) {
  const auto words = call.list("command");
  if (words.size() == 1 && words.front().empty()) {
    throw ApiError::parameter("command", "type check ('array') failed");
  }
  json::object arguments{{"path", words.front()},
                         {"arg", json::array(words.begin() + 1, words.end())},
                         {"capture-output", true}};
  if (call.has("input-data")) {
    arguments["input-data"] = to_base64(to_bytes(call.text("input-data")));
  }
  const VmPtr vm = co_await ready(call);
  if (std::any_of(words.begin(), words.end(), is_wide)) {
    // The real server writes half a request here, and waits for an answer that can't come. (Its
    // agent stays deaf afterwards; ours does not.)
    co_await sleep_for(services_.vms.agent_limits().command);
    throw ApiError{500, fmt::format("VM {} qga command 'guest-exec' failed - got timeout", vm->id)};
  }
  const json::value started = co_await run(vm, "guest-exec", std::move(arguments));
  co_return json::object{{"pid", json::number_at(started, "pid")}};
}

awaitable<json::value> AgentRoutes::exec_status(Call& call) {
  const std::int64_t pid = call.number("pid");
  const VmPtr vm = co_await ready(call);
  const auto limit = Deadline::after(services_.vms.agent_limits().patience);
  json::value status = co_await run(vm, "guest-exec-status", {{"pid", pid}});
  while (!json::flag_or(status, "exited", false) &&
         !limit.passed(std::chrono::steady_clock::now())) {
    co_await sleep_for(status_pause);
    status = co_await run(vm, "guest-exec-status", {{"pid", pid}});
  }
  json::object out{{"exited", json::flag_or(status, "exited", false) ? 1 : 0}};
  for (const auto* key : {"exitcode", "signal"}) {
    if (const auto* number = json::find(status, key)) out[key] = *number;
  }
  for (const auto* stream : {"out", "err"}) {
    const std::string data = fmt::format("{}-data", stream);
    const std::string truncated = fmt::format("{}-truncated", stream);
    if (json::find(status, data) == nullptr) continue;
    out[data] = decoded(status, data);
    out[truncated] = json::flag_or(status, truncated, false) ? 1 : 0;
  }
  co_return out;
}

awaitable<json::value> AgentRoutes::file_read(Call& call) {
  const VmPtr vm = co_await ready(call);
  const json::value handle =
      co_await run(vm, "guest-file-open", {{"path", call.text("file")}, {"mode", "r"}});
  json::value out;
  std::exception_ptr failure;
  try {
    out = co_await read_file(vm, call, handle.as_int64());
  } catch (...) {
    failure = std::current_exception();
  }
  co_await close_file(vm, handle.as_int64());
  if (failure) std::rethrow_exception(failure);
  co_return out;
}

awaitable<json::value> AgentRoutes::read_file(VmPtr vm, const Call& call,
                                              std::int64_t handle) const {
  const bool decode = call.flag("decode", true);
  if (const auto offset = call.number_or("offset", 0); offset > 0) {
    co_await run(vm, "guest-file-seek", {{"handle", handle}, {"offset", offset}, {"whence", 0}});
  }
  std::int64_t left = call.number_or("count", most_read);
  std::int64_t bytes = 0;
  std::string content;
  bool at_end = false;
  while (left > 0 && !at_end) {
    const json::value piece = co_await run(
        vm, "guest-file-read", {{"handle", handle}, {"count", std::min(left, read_step)}});
    const std::int64_t got = json::number_at(piece, "count");
    // Undecoded, the pieces are joined as they are, padding inside (pve-facts section 9).
    content += decode ? decoded(piece, "buf-b64") : json::text_or(piece, "buf-b64");
    at_end = json::flag_or(piece, "eof", false) || got == 0;
    bytes += got;
    left -= got;
  }
  json::object out{{"content", content}, {"bytes-read", bytes}};
  if (!at_end) out["truncated"] = 1;
  co_return out;
}

awaitable<void> AgentRoutes::close_file(VmPtr vm, std::int64_t handle) const {
  try {
    co_await run(vm, "guest-file-close", {{"handle", handle}});
  } catch (const ApiError&) {
    // It was opened for reading: nothing is lost with it.
  }
}

awaitable<json::value> AgentRoutes::file_write(Call& call) {
  const std::string& given = call.text("content");
  const std::string content = call.flag("encode", true) ? to_base64(to_bytes(given)) : given;
  const VmPtr vm = co_await ready(call);
  const json::value handle =
      co_await run(vm, "guest-file-open", {{"path", call.text("file")}, {"mode", "wb"}});
  std::exception_ptr failure;
  try {
    co_await run(vm, "guest-file-write", {{"handle", handle}, {"buf-b64", content}});
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    co_await close_file(vm, handle.as_int64());
    std::rethrow_exception(failure);
  }
  co_await run(vm, "guest-file-close", {{"handle", handle}});
  co_return nullptr;
}

}  // namespace px::node
