#pragma once
#include "pve/connection.hpp"
#include "pve/instance.hpp"
#include "support/async.hpp"
#include "support/secret.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace px::pve {

/// What POST /access/ticket gave.
struct Ticket {
  Secret ticket;
  Secret csrf;
};

/// Decides when to log in and with what. No socket, no clock.
///
/// A ticket lives 2 h; from 1.5 h on it is renewed, with itself as the password (pve-facts
/// section 1). A ticket that the server refused is not tried as a password: a wrong one costs 3 s.
class LoginMachine {
 public:
  static constexpr std::chrono::minutes renew_after{90};
  static constexpr std::chrono::minutes lives_for{118};

  enum class Step : std::uint8_t {
    use,     ///< the ticket is good
    renew,   ///< log in with the old ticket as password; when refused, log in
    log_in,  ///< log in with the password
  };

  Step next(SteadyTime now) const noexcept;
  void got(Ticket ticket, SteadyTime now);
  /// A request with ticket number `generation` was answered 401. An older number than the current
  /// one changes nothing: someone has logged in meanwhile.
  void refused(std::uint64_t generation) noexcept;

  const Ticket& ticket() const { return *ticket_; }
  /// Counts logins; 0 before the first.
  std::uint64_t generation() const noexcept { return generation_; }

 private:
  std::optional<Ticket> ticket_;
  SteadyTime obtained_{};
  std::uint64_t generation_ = 0;
};

/// The login of one instance: by token, or by ticket with renewal. Many requests that start at
/// once share one login, also its failure.
class Session {
 public:
  Session(asio::any_io_executor executor, ConnectionPool& connections, const Instance& instance);

  struct Credentials {
    Headers headers;
    std::uint64_t generation = 0;
  };
  /// Headers that authenticate a request; logs in first where needed. Throws Error{auth} with a
  /// hint that names the variables to set, or what the connection threw.
  awaitable<Credentials> credentials(std::string method);

  /// Tells that these credentials were answered 401. True when trying again makes sense.
  bool refused(const Credentials& credentials) noexcept;

  /// The Error{auth} for a refused token, or a ticket refused twice.
  Error refusal(std::string_view said) const;

  std::uint64_t logins() const noexcept { return logins_; }

 private:
  struct Flight;
  awaitable<void> log_in();
  awaitable<bool> ask_for_ticket(Secret password, std::string& said);

  asio::any_io_executor executor_;
  ConnectionPool& connections_;
  const Instance& instance_;
  LoginMachine machine_;
  std::shared_ptr<Flight> flight_;
  std::uint64_t logins_ = 0;
};

}  // namespace px::pve
