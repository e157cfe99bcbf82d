#pragma once
#include "support/async.hpp"
#include "support/bytes.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

/// A small HTTPS server for tests, on the same I/O thread as the client under test. A handler
/// says what comes back, byte by byte where needed.
namespace px::testing {

/// A self-signed certificate for localhost and 127.0.0.1, made in memory.
struct Certificate {
  std::string key_pem;
  std::string certificate_pem;
  std::string fingerprint;  ///< SHA-256, lower-case hexadecimal
};
struct CertificateOptions {
  std::string name = "localhost";  ///< with `IP:127.0.0.1` only when it is localhost
  int days_from_now = 30;          ///< end of validity; negative: expired
};
Certificate make_certificate(const CertificateOptions& options = {});

struct Received {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;                            ///< the first 64 KiB
  std::uint64_t body_size = 0;
  std::string body_sha256;
  int connection = 0;          ///< 1, 2...
  int on_this_connection = 0;  ///< 1, 2...

  std::string header(const std::string& name) const;
  /// Target without query and without /api2/json.
  std::string path() const;
};

struct Reply {
  std::string bytes;  ///< status line, headers and body; empty: no answer
  bool close = false;
  std::chrono::milliseconds delay{0};
};
/// `HTTP/1.1 200 OK` with a JSON body, kept alive.
Reply json_reply(const std::string& body);
/// {"data": DATA}
Reply data_reply(const std::string& data);
/// As the real server does: the message in the reason and in the body, then closed.
Reply error_reply(int status, const std::string& message);
/// Takes the request and closes without a word.
Reply no_reply();

class TlsServer {
 public:
  using Handler = std::function<Reply(const Received&)>;

  TlsServer(asio::any_io_executor executor, Certificate certificate, Handler handler);
  std::uint16_t port() const;
  const Certificate& certificate() const { return certificate_; }
  /// Requests in the order in which they were complete.
  const std::vector<Received>& received() const { return received_; }
  /// How many requests had this method and path.
  int count(const std::string& method, const std::string& path) const;
  int connections() const { return connection_count_; }
  /// The most requests that were being answered at one time.
  int most_at_once() const { return most_at_once_; }
  /// For requests whose body is refused before it was read: answers after the header.
  std::function<bool(const Received&)> answers_before_body;
  /// Closes kept connections when they are idle for so long.
  std::chrono::milliseconds idle_limit{60'000};

  /// Closes everything.
  void stop();
  /// stop(), and waits until no coroutine of the server is left. Before it is destroyed.
  awaitable<void> end();

 private:
  struct Peer;
  void spawn(awaitable<void> work);
  awaitable<void> accept();
  awaitable<void> serve(std::shared_ptr<Peer> peer);

  asio::any_io_executor executor_;
  Certificate certificate_;
  Handler handler_;
  asio::ssl::context context_{asio::ssl::context::tls_server};
  asio::ip::tcp::acceptor acceptor_;
  std::vector<std::weak_ptr<Peer>> peers_;
  std::vector<Received> received_;
  int connection_count_ = 0;
  bool stopped_ = false;
  int running_ = 0;  ///< coroutines that refer to this object
  int at_once_ = 0;
  int most_at_once_ = 0;
};

}  // namespace px::testing
