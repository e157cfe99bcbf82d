#include "node/vm/console_routes.hpp"

#include "support/bytes.hpp"

#include <algorithm>
#include <charconv>
#include <ctime>

namespace px::node {

namespace {

using namespace std::chrono_literals;

constexpr int first_port = 5900;
constexpr int last_port = 5999;
/// So long a terminal waits for its client, and so long its ticket is good.
constexpr auto client_limit = 10s;
constexpr auto ticket_life = 40s;
/// Of one message; a client's frames have at most 128 KiB.
constexpr std::size_t longest_message = 128u << 10;
constexpr std::size_t most_digits = 6;

Error bad_message() {
  return Error{Errc::protocol, "the client's message is none of a terminal"};
}

/// A number that begins at `from` and ends with a colon.
struct Number {
  std::size_t value = 0;
  std::size_t end = 0;  ///< behind the colon
};

/// Nothing as long as its end is not there.
std::optional<Number> number_at(std::string_view text, std::size_t from) {
  const auto field = text.substr(std::min(from, text.size()));
  const auto digits = field.substr(0, field.find(':'));
  Number out;
  const auto* const end = digits.data() + digits.size();
  const auto [read, failure] = std::from_chars(digits.data(), end, out.value);
  const bool is_number = failure == std::errc{} && read == end && digits.size() <= most_digits &&
                         out.value <= longest_message;
  if (!is_number && !field.empty()) throw bad_message();
  if (digits.size() == field.size()) return std::nullopt;
  out.end = from + digits.size() + 1;
  return out;
}

/// The length of the first message in `text`, whose input goes to `out`; 0 when it is not whole.
std::size_t whole_message(std::string_view text, std::string& out) {
  if (text.empty()) return 0;
  if (text[0] == '2') return 1;  // a sign of life
  const bool is_input = text[0] == '0';
  if (!is_input && text[0] != '1') throw bad_message();
  if (text.size() > 1 && text[1] != ':') throw bad_message();
  const auto first = number_at(text, 2);
  if (!first) return 0;
  if (is_input) {
    const auto end = first->end + first->value;
    if (text.size() < end) return 0;
    out += text.substr(first->end, first->value);
    return end;
  }
  const auto rows = number_at(text, first->end);  // of a window: a serial port has none
  return rows ? rows->end : 0;
}

/// The port that is asked for, or the screen that is one; empty for the first there is.
std::string wanted_port(const Call& call, const Options& options) {
  if (call.has("serial")) return call.text("serial");
  const Properties vga{option_or(options, "vga")};
  auto type = vga.get("", vga.get("type"));
  return type.starts_with("serial") ? type : "";
}

/// The number of the port `wanted`. Throws ApiError with the words of `qm terminal` (qemu-server
/// CLI/qm.pm).
int find_port(std::string wanted, const Options& options) {
  for (int number = 0; wanted.empty() && number < 4; ++number) {
    const auto name = fmt::format("serial{}", number);
    if (option_or(options, name) == "socket") wanted = name;
  }
  if (wanted.empty()) throw ApiError{500, "unable to find a serial interface"};
  if (!options.contains(wanted)) {
    throw ApiError{500, fmt::format("serial interface '{}' is not configured", wanted)};
  }
  if (options.at(wanted) != "socket") {
    throw ApiError{500, fmt::format("wrong serial type on interface '{}'", wanted)};
  }
  return wanted.back() - '0';
}

awaitable<void> pass_output(SerialPort& from, Messages& to) {
  for (;;) co_await to.send(co_await from.read());
}

/// Until the client goes.
awaitable<void> pass_input(Messages& from, SerialPort& to) {
  TerminalInput input;
  while (const auto message = co_await from.receive()) {
    if (auto bytes = input.add(*message); !bytes.empty()) co_await to.write(std::move(bytes));
  }
}

awaitable<void> wait_for_end(Event& event) {
  co_await event.wait();
  throw Error{Errc::unavailable, "the terminal's task was ended"};
}

}  // namespace

std::string TerminalInput::add(std::string_view message) {
  rest_ += message;
  std::string out;
  while (const auto length = whole_message(rest_, out)) rest_.erase(0, length);
  return out;
}

/// A terminal between termproxy and its end.
struct ConsoleRoutes::Terminal {
  Terminal(const asio::any_io_executor& executor, VmPtr on, std::string port, std::string whose)
      : vm{std::move(on)},
        wanted_port{std::move(port)},
        user{std::move(whose)},
        joined{executor},
        ended{executor},
        given_up{executor} {}

  VmPtr vm;
  std::string wanted_port;
  std::string user;
  std::string ticket;
  SteadyTime made = std::chrono::steady_clock::now();
  Event joined;              ///< by its client
  Event ended;               ///< its client or its guest is gone
  Event given_up;            ///< its task is gone
  std::exception_ptr error;  ///< that it ended by
};

void ConsoleRoutes::add_routes(Router& router) {
  using enum ParamType;
  const auto self = shared_from_this();
  add_vm_route(router, self, "POST", "/{vmid}/termproxy",
               {{.name = "serial", .one_of = {"serial0", "serial1", "serial2", "serial3"}}},
               &ConsoleRoutes::open);
  router.add({.method = "GET",
              .path = "/nodes/{node}/qemu/{vmid}/vncwebsocket",
              .params = {{.name = "port",
                          .type = integer,
                          .required = true,
                          .minimum = first_port,
                          .maximum = last_port},
                         {.name = "vncticket", .required = true, .max_length = 512}},
              .handler = [self](Call& call) { return self->check(call); },
              .conversation = [self](Call& call,
                                     Messages& messages) { return self->talk(call, messages); }});
}

awaitable<json::value> ConsoleRoutes::open(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  int port = first_port;
  while (terminals_.contains(port)) ++port;
  if (port > last_port) throw ApiError{500, "unable to find free port (5900-5999)"};
  const auto terminal = std::make_shared<Terminal>(
      co_await asio::this_coro::executor, vm, wanted_port(call, vm->config.current), call.user);
  terminal->ticket =
      fmt::format("PVEVNC:{:08X}::{}", std::time(nullptr), to_base64(random_bytes(32)));
  terminals_[port] = terminal;
  auto upid = services_.tasks.start(
      "vncproxy", std::to_string(vm->id), call.user,
      [self = shared_from_this(), terminal](TaskLog&) { return self->attend(terminal); });
  co_return json::object{{"port", std::to_string(port)},
                         {"ticket", terminal->ticket},
                         {"user", call.user},
                         {"upid", std::move(upid)}};
}

/// The terminal's task.
awaitable<void> ConsoleRoutes::attend(TerminalPtr terminal) {
  std::exception_ptr failure;
  try {
    co_await with_deadline(terminal->joined.wait(), Deadline::after(client_limit), "");
    co_await terminal->ended.wait();
    failure = terminal->error;
  } catch (const Error&) {
    failure = std::make_exception_ptr(ApiError{500, "connection timed out"});
  } catch (...) {
    failure = std::current_exception();
  }
  terminal->given_up.set();
  std::erase_if(terminals_, [&](const auto& entry) { return entry.second == terminal; });
  if (failure) std::rethrow_exception(failure);
}

ConsoleRoutes::TerminalPtr ConsoleRoutes::terminal_of(const Call& call) const {
  const auto found = terminals_.find(static_cast<int>(call.number("port")));
  if (found == terminals_.end()) return nullptr;
  const auto& terminal = found->second;
  const bool is_good = terminal->ticket == call.text("vncticket") && terminal->user == call.user &&
                       terminal->vm->id == call.number("vmid") &&
                       std::chrono::steady_clock::now() - terminal->made < ticket_life;
  return is_good ? terminal : nullptr;
}

awaitable<json::value> ConsoleRoutes::check(Call& call) {
  if (!terminal_of(call)) throw ApiError{401, "permission denied - invalid PVEVNC ticket\n"};
  co_return json::object{{"port", call.text("port")}};
}

awaitable<void> ConsoleRoutes::talk(Call& call, Messages& messages) {
  const auto terminal = terminal_of(call);
  if (!terminal || terminal->joined.is_set()) co_return;
  terminal->joined.set();
  std::exception_ptr failure;
  try {
    co_await with_company(use(messages, *terminal), wait_for_end(terminal->given_up));
  } catch (...) {
    failure = std::current_exception();
  }
  terminal->error = failure;
  terminal->ended.set();
  if (failure && is_cancellation(failure)) std::rethrow_exception(failure);
}

awaitable<void> ConsoleRoutes::use(Messages& messages, Terminal& terminal) {
  const auto hello = co_await messages.receive();
  if (hello != fmt::format("{}:{}\n", terminal.user, terminal.ticket)) {
    throw ApiError{500, "failed to authenticate the client"};
  }
  co_await messages.send("OK");
  std::unique_ptr<SerialPort> port;
  std::string words;
  try {
    const int number = find_port(terminal.wanted_port, terminal.vm->config.current);
    if (!terminal.vm->machine->status().running) {
      throw ApiError{500, fmt::format("VM {} not running", terminal.vm->id)};
    }
    port = co_await terminal.vm->machine->open_serial(number);
    words = fmt::format("starting serial terminal on interface serial{}", number);
  } catch (const ApiError& error) {
    words = error.message;
  }
  co_await messages.send(words + "\r\n");
  if (!port) throw ApiError{500, words};
  co_await with_company(pass_input(messages, *port), pass_output(*port, messages));
}

}  // namespace px::node
