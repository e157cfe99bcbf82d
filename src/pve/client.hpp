#pragma once
#include "pve/connection.hpp"
#include "pve/instance.hpp"
#include "pve/params.hpp"
#include "pve/session.hpp"
#include "support/async.hpp"
#include "support/json.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace px::pve {

/// What a call costs the server. Calls that need root are handed to three worker processes, one
/// at a time each; a caller that fills all three makes everyone's calls time out after 30 s
/// (pve-facts sections 2 and 14).
enum class Load : std::uint8_t {
  light,      ///< answered by the front server itself: version, config, nextid, cluster/...
  worker,     ///< holds one of the three workers; at most 3 of ours at once
  bulk_read,  ///< holds a worker for long (agent file-read); at most 2 of ours at once
};

struct CallOptions {
  Deadline deadline = Deadline::after(std::chrono::seconds{60});
  Load load = Load::worker;
  /// Sending it twice does no harm, though it is no GET.
  bool repeatable = false;
  /// Answers that mean "locked, try later" (Errc::busy) are waited out until the deadline.
  bool wait_for_lock = false;
  /// For Error::doing.
  std::string doing{};
  /// Called when a free worker was waited for and the request goes out, each time it does.
  std::function<void()> on_send{};
};

/// Counters since the client was made, for benches and tests.
struct Stats {
  std::map<std::string, std::uint64_t> requests;  ///< sent, by method; logins and repeats too
  std::uint64_t repeated = 0;                     ///< of these, repeats
  std::uint64_t logins = 0;
  std::uint64_t connections = 0;
  std::uint64_t total() const noexcept;
};

/// Decides whether and when a failed request is sent again. No socket, no clock.
class Repeats {
 public:
  static constexpr int most = 2;

  /// `harmless`: sending it twice changes nothing.
  Repeats(bool harmless, bool wait_for_lock) : harmless_{harmless}, wait_for_lock_{wait_for_lock} {}
  /// The pause before the next attempt; empty: give up.
  std::optional<std::chrono::milliseconds> after(const Error& error) noexcept;

 private:
  bool harmless_;
  bool wait_for_lock_;
  int repeats_ = 0;
  std::chrono::milliseconds lock_pause_{200};
};

/// The API of one server. Calls may overlap; one I/O thread. Must outlive its calls.
///
/// `path` is the part after /api2/json, its pieces percent-encoded. Results are the answer's
/// `data`. Errors: px::Error, see classify() and ConnectionPool.
///
/// Sent twice: a GET (or a `repeatable` call) whose connection died or that was answered 595..599,
/// at most 3 times in all; anything when it was answered 401 for an old ticket, or "locked" with
/// `wait_for_lock`. Nothing else. Attempts to connect are repeated twice within a second.
class Client {
 public:
  /// Throws Error{bad_input} for an instance that can't be right (check()); connects later.
  Client(asio::any_io_executor executor, asio::thread_pool& pool, Instance instance);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  awaitable<json::value> get(std::string path, Params query = {}, CallOptions options = {});
  awaitable<json::value> post(std::string path, Params body = {}, CallOptions options = {});
  awaitable<json::value> put(std::string path, Params body = {}, CallOptions options = {});
  awaitable<json::value> del(std::string path, Params query = {}, CallOptions options = {});

  /// POST of a streamed body on a connection of its own.
  awaitable<json::value> post_stream(std::string path, std::string content_type, BodySource& body,
                                     CallOptions options);

  /// A GET that becomes a WebSocket. The deadline and the login are as with other calls; nothing is
  /// sent twice. Errors name no query: there is a ticket in it.
  awaitable<std::unique_ptr<WebSocket>> open_socket(std::string path, Params query,
                                                    CallOptions options);

  /// Closes the connections. Calls under way go on; later ones open new connections.
  awaitable<void> close();

  const Instance& instance() const noexcept;
  asio::thread_pool& pool() noexcept;
  Stats stats() const;

  /// When one of the server's workers last had an answer for us other than that a guest is silent;
  /// when the client was made, before the first.
  std::chrono::steady_clock::time_point last_answer() const noexcept;

  /// Server's clock minus ours, from the Date header of the last answer; empty before the first.
  std::optional<std::chrono::seconds> clock_offset() const noexcept;

  /// The last tasks that this client was told it started, so that none of them is taken for
  /// another whose answer was lost.
  void remember(const Upid& task);
  bool remembers(const Upid& task) const;
  /// The last of them on a node.
  std::optional<Upid> last_task(const NodeName& node) const;

  /// Whether the server's file-read knows offset, count and decode (qemu-server 9.1.5); empty
  /// until a call has shown it. Set by pve::agent.
  std::optional<bool> reads_by_offset;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace px::pve
