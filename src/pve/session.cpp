#include "pve/session.hpp"

#include "pve/classify.hpp"
#include "pve/params.hpp"
#include "support/bytes.hpp"
#include "support/json.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

namespace px::pve {

LoginMachine::Step LoginMachine::next(SteadyTime now) const noexcept {
  if (!ticket_ || now - obtained_ >= lives_for) return Step::log_in;
  return now - obtained_ >= renew_after ? Step::renew : Step::use;
}

void LoginMachine::got(Ticket ticket, SteadyTime now) {
  ticket_ = std::move(ticket);
  obtained_ = now;
  ++generation_;
}

void LoginMachine::refused(std::uint64_t generation) noexcept {
  if (generation == generation_) ticket_.reset();
}

/// A login under way: who comes meanwhile waits for its end.
struct Session::Flight {
  explicit Flight(const asio::any_io_executor& executor) : done{executor} {}
  Event done;
  std::exception_ptr failure;
};

Session::Session(asio::any_io_executor executor, ConnectionPool& connections,
                 const Instance& instance)
    : executor_{std::move(executor)}, connections_{connections}, instance_{instance} {}

awaitable<Session::Credentials> Session::credentials(std::string method) {
  if (!instance_.token_id.empty()) {
    co_return Credentials{
        {{"Authorization", fmt::format("PVEAPIToken={}={}", full_token_id(instance_),
                                       instance_.token_secret.reveal())}}};
  }
  while (machine_.next(std::chrono::steady_clock::now()) != LoginMachine::Step::use) {
    if (const auto flight = flight_) {
      co_await flight->done.wait();
      // Had its owner only been cancelled, one of the waiting takes over.
      if (flight->failure && !is_cancellation(flight->failure)) {
        std::rethrow_exception(flight->failure);
      }
      continue;
    }
    const auto flight = flight_ = std::make_shared<Flight>(executor_);
    try {
      co_await log_in();
    } catch (...) {
      flight->failure = std::current_exception();
    }
    flight_.reset();
    flight->done.set();
    if (flight->failure) std::rethrow_exception(flight->failure);
  }
  Credentials out;
  out.generation = machine_.generation();
  out.headers.emplace_back("Cookie",
                           "PVEAuthCookie=" + percent_encode(machine_.ticket().ticket.reveal()));
  if (method != "GET") {
    out.headers.emplace_back("CSRFPreventionToken", machine_.ticket().csrf.reveal());
  }
  co_return out;
}

bool Session::refused(const Credentials& credentials) noexcept {
  if (!instance_.token_id.empty()) return false;
  machine_.refused(credentials.generation);
  return true;
}

Error Session::refusal(std::string_view said) const {
  const bool by_token = !instance_.token_id.empty();
  Error error{Errc::auth,
              by_token
                  ? fmt::format("the API token {} was refused: {}", full_token_id(instance_), said)
                  : fmt::format("the login of {} was refused: {}", full_user(instance_), said)};
  error.status = 401;
  error.sent = Sent::answered;
  error.hint = by_token ? "Look at PROXMOX_TOKEN_ID (user@realm!name) and PROXMOX_TOKEN_SECRET"
                        : "Look at PROXMOX_USER, PROXMOX_REALM and PROXMOX_PASSWORD";
  return error;
}

awaitable<void> Session::log_in() {
  std::string said;
  // The old ticket is a good password until it ends.
  if (machine_.next(std::chrono::steady_clock::now()) == LoginMachine::Step::renew &&
      co_await ask_for_ticket(machine_.ticket().ticket, said)) {
    co_return;
  }
  if (!co_await ask_for_ticket(instance_.password, said)) throw refusal(said);
}

awaitable<bool> Session::ask_for_ticket(Secret password, std::string& said) {
  constexpr std::string_view path = "/access/ticket";
  HttpRequest request;
  request.method = "POST";
  request.target = fmt::format("/api2/json{}", path);
  request.headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
  request.body =
      Params{}.add("username", full_user(instance_)).add("password", password.reveal()).form();

  HttpResponse response;
  for (int attempt = 1;; ++attempt) {
    ++logins_;
    try {
      response = co_await connections_.send(request);
    } catch (Error& e) {
      // A login that may have happened twice does no harm.
      if (e.sent == Sent::maybe && attempt < 3) continue;
      e.sent = Sent::no;  // the request that wanted the ticket was not
      throw;
    }
    break;
  }
  if (response.status == 401) {
    said = response.reason;
    co_return false;
  }
  if (response.status != 200) {
    auto error = classify(response.status, response.reason, response.body, "POST", path);
    error.sent = Sent::no;
    throw std::move(error);
  }
  const auto answer = json::parse(response.body, "the answer to the login");
  const auto* data = json::find(answer, "data");
  if (data == nullptr) throw Error{Errc::protocol, "the answer to the login has no data"};
  if (json::flag_or(*data, "NeedTFA", false)) {
    throw Error{Errc::auth, fmt::format("{} has a second factor", full_user(instance_))}.with_hint(
        "Use an API token: PROXMOX_TOKEN_ID and PROXMOX_TOKEN_SECRET");
  }
  machine_.got(
      {Secret{json::text_at(*data, "ticket")}, Secret{json::text_at(*data, "CSRFPreventionToken")}},
      std::chrono::steady_clock::now());
  log::debug("logged in as {}", full_user(instance_));
  co_return true;
}

}  // namespace px::pve
