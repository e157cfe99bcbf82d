#include "pve/console.hpp"

#include "support/bytes.hpp"
#include "support/secret.hpp"

#include <fmt/format.h>

namespace px::pve::console {

namespace {

constexpr std::string_view first_words = "OK";
constexpr std::string_view last_words = "starting serial terminal";
constexpr std::size_t longest_greeting = 1024;

CallOptions promptly(Deadline limit, std::string doing) {
  // Not behind our own calls of the agent, which wait in vain.
  return {.deadline = limit, .load = Load::light, .doing = std::move(doing)};
}

awaitable<void> listen_on(Client& client, VmRef vm, std::function<void(std::string_view)> print,
                          Deadline limit) {
  const auto port = port_of(co_await qemu::config(client, vm));
  if (!port) co_return;
  const auto doing = fmt::format("listen to the console of VM {}", vm.vmid);
  Params what;
  what.add("serial", fmt::format("serial{}", *port));
  const auto terminal = co_await client.post(qemu::path_of(vm, "/termproxy"), std::move(what),
                                             promptly(limit, doing));
  const Secret ticket{json::text_at(terminal, "ticket")};
  Params where;
  // A number, written as a text by some versions (exchange 13).
  where.add("port", json::number_at(terminal, "port")).add("vncticket", ticket.reveal());
  const auto socket = co_await client.open_socket(qemu::path_of(vm, "/vncwebsocket"),
                                                  std::move(where), promptly(limit, doing));
  co_await socket->send(fmt::format("{}:{}\n", json::text_at(terminal, "user"), ticket.reveal()));
  Greeting greeting;
  while (const auto message = co_await socket->receive()) {
    if (const auto bytes = greeting.after(*message); !bytes.empty()) print(bytes);
  }
}

}  // namespace

std::optional<int> port_of(const qemu::VmConfigMap& config) {
  for (int number = 0; number < 4; ++number) {
    if (config.get(fmt::format("serial{}", number)) == "socket") return number;
  }
  return std::nullopt;
}

std::string_view Greeting::after(std::string_view bytes) {
  if (over_) return bytes;
  const auto end = bytes.find('\n');
  said_ += bytes.substr(0, end);
  const bool is_whole = end != std::string_view::npos;
  if (!is_whole && said_.size() <= longest_greeting) return {};
  if (!said_.starts_with(first_words) || said_.find(last_words) == std::string::npos) {
    throw Error{Errc::unavailable,
                fmt::format("the terminal says: {}", printable(said_.substr(0, longest_greeting)))};
  }
  over_ = true;
  return is_whole ? bytes.substr(end + 1) : std::string_view{};
}

awaitable<void> listen(Client& client, VmRef vm, std::function<void(std::string_view)> print,
                       Deadline limit) {
  try {
    co_await with_deadline(listen_on(client, std::move(vm), std::move(print), limit), limit, "");
  } catch (const Error& error) {
    if (error.kind != Errc::timeout) throw;
  }
}

}  // namespace px::pve::console
