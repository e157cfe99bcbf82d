#include "pve/connection.hpp"

#include "support/bytes.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>
#include <openssl/x509v3.h>

#include <array>
#include <sys/socket.h>

namespace px::pve {

namespace {

namespace http = boost::beast::http;
namespace ssl = asio::ssl;
using asio::ip::tcp;
using namespace std::chrono_literals;

/// The server closes after 5 s without a request; what is older than this may be closing now.
constexpr auto most_idle = 3s;
/// The server answers the 100th request with `Connection: close`.
constexpr int most_requests = 99;
/// Most bytes of an answer: a 16 MiB file-read is 34 MB of JSON (pve-facts section 9).
constexpr std::uint64_t most_answer = 96U << 20;

std::string fingerprint_of(X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  if (certificate == nullptr ||
      X509_digest(certificate, EVP_sha256(), digest.data(), &length) != 1) {
    return {};
  }
  return to_hex({reinterpret_cast<const char*>(digest.data()), length});
}

std::string with_colons(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    if (i > 0) out += ':';
    out += hex.substr(i, 2);
  }
  return out;
}

}  // namespace

/// The TLS settings, and what the last handshake saw, for messages.
struct ConnectionPool::Tls {
  explicit Tls(const Instance& instance)
      : verify{instance.verify_tls},
        pin{instance.fingerprint.empty() ? "" : parse_fingerprint(instance.fingerprint)} {
    context.set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 |
                        ssl::context::no_tlsv1_1);
    if (!instance.ca_file.empty()) {
      boost::system::error_code error;
      context.load_verify_file(instance.ca_file, error);
      if (error) {
        throw_bad_input("PROXMOX_CA_FILE", instance.ca_file,
                        "it must be a readable PEM file: " + error.message());
      }
    } else {
      context.set_default_verify_paths();
    }
  }

  /// Installs the checks on one stream.
  void arm(ssl::stream<tcp::socket>& stream, const std::string& host) {
    if (!verify && pin.empty()) {
      stream.set_verify_mode(ssl::verify_none);
      return;
    }
    stream.set_verify_mode(ssl::verify_peer);
    stream.set_verify_callback(
        [this, name = ssl::host_name_verification{host}](bool chain_ok, ssl::verify_context& seen) {
          X509_STORE_CTX* store = seen.native_handle();
          const bool leaf = X509_STORE_CTX_get_error_depth(store) == 0;
          if (leaf) seen_fingerprint = fingerprint_of(X509_STORE_CTX_get0_cert(store));
          if (!pin.empty()) return !leaf || seen_fingerprint == pin;
          if (!chain_ok) {
            seen_fingerprint = fingerprint_of(X509_STORE_CTX_get0_cert(store));
            seen_problem = X509_verify_cert_error_string(X509_STORE_CTX_get_error(store));
            return false;
          }
          if (!leaf || name(chain_ok, seen)) return true;
          seen_problem = "it is for another name";
          return false;
        });
  }

  Error explain(const std::string& detail) const {
    if (!pin.empty() && !seen_fingerprint.empty() && seen_fingerprint != pin) {
      return Error{Errc::tls,
                   fmt::format("the server's certificate has the fingerprint {}, not the {} of "
                               "PROXMOX_FINGERPRINT",
                               with_colons(seen_fingerprint), with_colons(pin))}
          .with_hint("Compare both with the certificate on the server (pvenode cert info).");
    }
    if (!seen_problem.empty()) {
      return Error{Errc::tls,
                   fmt::format("the server's certificate is not trusted: {}", seen_problem)}
          .with_hint(fmt::format(
              "If the fingerprint is right, set PROXMOX_FINGERPRINT={}; or name the authority in "
              "PROXMOX_CA_FILE, or set PROXMOX_VERIFY_TLS=0.",
              with_colons(seen_fingerprint)));
    }
    return Error{Errc::tls, "the TLS handshake failed: " + detail}.with_hint(
        "Is it the port of the Proxmox VE API (8006)?");
  }

  bool verify;
  std::string pin;
  ssl::context context{ssl::context::tls_client};
  std::string seen_fingerprint;
  std::string seen_problem;
};

class ConnectionPool::Connection {
 public:
  Connection(const asio::any_io_executor& executor, Tls& tls) : stream{executor, tls.context} {}

  /// No byte has come since the last answer: what comes unasked is the server's goodbye.
  bool still_open() {
    char byte = 0;
    const auto got = ::recv(stream.next_layer().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }

  ssl::stream<tcp::socket> stream;
  boost::beast::flat_buffer buffer;
  int requests = 0;
  SteadyTime last_used = std::chrono::steady_clock::now();
};

ConnectionPool::ConnectionPool(asio::any_io_executor executor, const Instance& instance)
    : executor_{std::move(executor)},
      host_{instance.host},
      port_{std::to_string(instance.port)},
      tls_{std::make_unique<Tls>(instance)} {}

ConnectionPool::~ConnectionPool() = default;

void ConnectionPool::close_idle() {
  idle_.clear();
}

std::shared_ptr<ConnectionPool::Connection> ConnectionPool::take_idle() {
  const auto now = std::chrono::steady_clock::now();
  while (!idle_.empty()) {
    auto connection = std::move(idle_.back());  // the youngest, so that the others grow old and go
    idle_.pop_back();
    if (now - connection->last_used < most_idle && connection->still_open()) return connection;
  }
  return nullptr;
}

awaitable<std::shared_ptr<ConnectionPool::Connection>> ConnectionPool::connect() {
  auto connection = std::make_shared<Connection>(executor_, *tls_);
  boost::system::error_code error;
  tcp::resolver resolver{executor_};
  const auto addresses = co_await resolver.async_resolve(
      host_, port_, asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error{error};
  if (error) {
    throw Error{Errc::unreachable, "the name is not known: " + error.message()}.with_hint(
        "Check PROXMOX_HOST.");
  }
  auto& socket = connection->stream.next_layer();
  co_await asio::async_connect(socket, addresses, asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error{error};
  if (error) {
    throw Error{Errc::unreachable, "no connection: " + error.message()}.with_hint(
        "Check PROXMOX_HOST and PROXMOX_PORT, and that the server runs.");
  }
  socket.set_option(tcp::no_delay{true});
  tls_->seen_problem.clear();
  tls_->seen_fingerprint.clear();
  tls_->arm(connection->stream, host_);
  SSL_set_tlsext_host_name(connection->stream.native_handle(), host_.c_str());
  co_await connection->stream.async_handshake(ssl::stream_base::client,
                                              asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error{error};
  if (error) throw tls_->explain(error.message());
  ++opened_;
  co_return connection;
}

awaitable<void> ConnectionPool::exchange(const HttpRequest& request, bool fresh,
                                         HttpResponse& response, bool& sent) {
  auto connection = fresh ? nullptr : take_idle();
  if (!connection) connection = co_await connect();
  auto& stream = connection->stream;

  http::request<http::string_body> head{http::string_to_verb(request.method), request.target, 11};
  head.set(http::field::host, host_ + ":" + port_);
  head.set(http::field::accept, "application/json");
  for (const auto& [name, value] : request.headers) head.set(name, value);
  if (!request.body.empty() || request.stream_length > 0) {
    head.content_length(request.body.size() + request.stream_length);
  }
  head.body() = request.body;

  sent = true;
  co_await http::async_write(stream, head, asio::use_awaitable);
  for (std::uint64_t left = request.stream_length; left > 0;) {
    const std::string piece = co_await request.next_piece();
    if (piece.empty() || piece.size() > left) {
      throw Error{Errc::bad_input, "the file changed its length while it was sent"};
    }
    co_await asio::async_write(stream, asio::buffer(piece), asio::use_awaitable);
    left -= piece.size();
  }

  http::response_parser<http::string_body> parser;
  parser.body_limit(most_answer);
  co_await http::async_read(stream, connection->buffer, parser, asio::use_awaitable);
  auto& answer = parser.get();
  response.status = static_cast<int>(answer.result_int());
  response.reason = std::string{answer.reason()};
  response.body = std::move(answer.body());

  // Answers of protected calls carry `Connection: close` of an inner server and then their own
  // `Connection: Keep-Alive`: the last one counts (pve-facts section 2).
  bool keep = response.status < 400 && !fresh && ++connection->requests < most_requests;
  const auto lines = answer.equal_range(http::field::connection);
  for (auto line = lines.first; line != lines.second; ++line) {
    if (std::next(line) == lines.second) {
      keep = keep && !http::token_list{line->value()}.exists("close");
    }
  }
  if (keep) {
    connection->last_used = std::chrono::steady_clock::now();
    idle_.push_back(std::move(connection));
  }
}

awaitable<HttpResponse> ConnectionPool::send(const HttpRequest& request, Deadline limit,
                                             bool fresh) {
  HttpResponse response;
  bool sent = false;
  std::optional<Error> failure;
  try {
    co_await with_deadline(exchange(request, fresh, response, sent), limit, "");
  } catch (const Error& error) {
    failure = error;
  } catch (const boost::system::system_error& error) {
    if (error.code() == asio::error::operation_aborted) throw;
    failure = Error{Errc::unreachable, "the connection broke: " + error.code().message()};
  }
  if (failure) {
    failure->sent = sent ? Sent::maybe : Sent::no;
    failure->host = host_ + ":" + port_;
    throw *failure;
  }
  co_return response;
}

}  // namespace px::pve
