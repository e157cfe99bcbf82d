#include "pve/connection.hpp"

#include "pve/upgrade.hpp"
#include "pve/wire.hpp"
#include "support/bytes.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/ssl/verify_context.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <deque>

namespace px::pve {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;
using boost::system::system_error;

constexpr std::chrono::seconds connect_limit{10};
/// Pauses between attempts to connect to a server that is just being restarted.
constexpr std::array connect_pauses{std::chrono::milliseconds{100}, std::chrono::milliseconds{400}};
/// The largest answer we ask for is a file of 16 MiB as JSON text, some 100 MiB at worst.
constexpr std::uint64_t largest_answer = 128u << 20;
constexpr std::size_t stream_piece = 256u << 10;

bool equal_names(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::string fingerprint_of(X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  if (certificate == nullptr || X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) {
    return {};
  }
  std::string bytes(size, '\0');
  std::copy_n(digest.begin(), size, bytes.begin());
  return to_hex(bytes);
}

Error certificate_error(const Verdict& verdict, const std::string& host) {
  Error error{Errc::tls, fmt::format("the certificate of {} is not trusted: {}", host,
                                     X509_verify_cert_error_string(verdict.error))};
  const auto shown = show_fingerprint(verdict.fingerprint);
  switch (verdict.error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      error.hint = "Renew it on the server (pvecm updatecerts --force), and look at both clocks";
      break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      error.hint = fmt::format(
          "Set PROXMOX_HOST to a name that is in the certificate, or, when this is the server you "
          "mean, PROXMOX_FINGERPRINT={}",
          shown);
      break;
    default:
      error.hint = fmt::format(
          "When this is the server you mean, set PROXMOX_FINGERPRINT={} (compare it with `pvenode "
          "cert info` there), or PROXMOX_CA_FILE to a copy of its /etc/pve/pve-root-ca.pem",
          shown);
  }
  return error;
}

Error pin_error(const std::string& seen, const std::string& expected, const std::string& host) {
  return Error{Errc::tls,
               fmt::format("the certificate of {} has the fingerprint {}, expected is {}", host,
                           show_fingerprint(seen), show_fingerprint(expected))}
      .with_hint(
          "The certificate was renewed, or someone stands between: compare it with `pvenode cert "
          "info` on the server, then set PROXMOX_FINGERPRINT");
}

Error network_error(const error_code& code) {
  namespace net = asio::error;
  if (code == net::host_not_found || code == net::host_not_found_try_again ||
      code == net::no_data) {
    return Error{Errc::unreachable, "there is no host of this name"}.with_hint(
        "Look at PROXMOX_HOST");
  }
  if (code == net::connection_refused) {
    return Error{Errc::unreachable, "connection refused"}.with_hint(
        "Look at PROXMOX_HOST and PROXMOX_PORT, and whether pveproxy runs there");
  }
  if (code == net::eof || code == net::connection_reset || code == net::broken_pipe ||
      code == ssl::error::stream_truncated || code == http::error::end_of_stream ||
      code == http::error::partial_message) {
    return Error{Errc::unreachable, "the server closed the connection without a whole answer"};
  }
  if (code.category() == net::get_ssl_category()) {
    return Error{Errc::tls, fmt::format("TLS failed: {}", code.message())}.with_hint(
        "Look whether PROXMOX_PORT is the port of the Proxmox VE API (8006)");
  }
  if (code.category() == http::make_error_code(http::error::end_of_stream).category()) {
    return Error{Errc::protocol, fmt::format("the answer is no HTTP: {}", code.message())};
  }
  return Error{Errc::unreachable, code.message()};
}

/// Once the handshake is through, trouble in the TLS layer is a torn connection.
Error torn(const error_code& code) {
  auto error = network_error(code);
  if (error.kind == Errc::tls) error.kind = Errc::unreachable;
  error.hint.clear();
  return error;
}

/// A server that restarts, or sheds connections: another attempt may get through.
bool is_passing(const error_code& code) {
  return code == asio::error::connection_refused || code == asio::error::connection_reset ||
         code == asio::error::eof || code == asio::error::broken_pipe ||
         code == ssl::error::stream_truncated;
}

/// The request up to its body.
std::string head_of(const HttpRequest& request, const std::string& host, const Headers& extra) {
  const auto size = request.stream != nullptr ? request.stream->size() : request.body.size();
  auto head = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.target, host);
  for (const auto& [name, value] : request.headers) head += fmt::format("{}: {}\r\n", name, value);
  for (const auto& [name, value] : extra) head += fmt::format("{}: {}\r\n", name, value);
  // A GET or DELETE with a body is refused by the server (501), even with an empty one announced.
  if (size > 0 || request.method == "POST" || request.method == "PUT") {
    head += fmt::format("Content-Length: {}\r\n", size);
  }
  return head + "\r\n";
}

}  // namespace

std::string_view HttpResponse::header(std::string_view name) const noexcept {
  const auto found = std::find_if(headers.rbegin(), headers.rend(),
                                  [&](const auto& h) { return equal_names(h.first, name); });
  return found == headers.rend() ? std::string_view{} : std::string_view{found->second};
}

bool stays_open(const HttpResponse& response) {
  return response.status < 400 && !equal_names(response.header("Connection"), "close");
}

std::string parse_fingerprint(std::string_view text) {
  std::string hex;
  for (const char c : text) {
    if (c == ':') continue;
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) hex.assign(1, '?');
    hex += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  if (hex.size() != 64 || hex.find('?') != std::string::npos) {
    throw_bad_input("fingerprint", text,
                    "a SHA-256 fingerprint is 64 hexadecimal digits, with or without colons");
  }
  return hex;
}

std::string show_fingerprint(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i < hex.size(); ++i) {
    if (i > 0 && i % 2 == 0) out += ':';
    out += static_cast<char>(std::toupper(static_cast<unsigned char>(hex[i])));
  }
  return out;
}

struct ConnectionPool::State {
  State(asio::any_io_executor executor_, const Instance& instance);

  awaitable<std::unique_ptr<Wire>> open();
  awaitable<std::unique_ptr<Wire>> open_once();
  awaitable<void> connect(Wire& wire);
  awaitable<HttpResponse> exchange(Wire& wire, const HttpRequest& request, Sent& sent);
  awaitable<void> write_stream(Wire& wire, const HttpRequest& request, const bool& answered);
  std::unique_ptr<Wire> take_idle(bool for_reading);
  void give_back(std::unique_ptr<Wire> wire, const HttpResponse& response);
  void prepare_tls(Wire& wire);
  std::string where() const {
    // RFC 3986 section 3.2.2: an IPv6 address stands in brackets.
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                               : fmt::format("[{}]:{}", host, port);
  }

  asio::any_io_executor executor;
  ssl::context context{ssl::context::tls_client};
  std::string host;
  int port;
  bool verify;
  std::string pin;
  Headers extra_headers;
  KeepAlive limits;
  std::deque<std::unique_ptr<Wire>> idle;  ///< the latest used last
  std::uint64_t opened = 0;
};

ConnectionPool::State::State(asio::any_io_executor executor_, const Instance& instance)
    : executor{std::move(executor_)},
      host{instance.host},
      port{instance.port},
      verify{instance.verify_tls} {
  if (!instance.fingerprint.empty()) pin = parse_fingerprint(instance.fingerprint);
  for (const auto& [name, value] : instance.extra_headers) {
    check_extra_header(name, value.reveal());
    extra_headers.emplace_back(name, value.reveal());
  }
  context.set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 |
                      ssl::context::no_tlsv1_1);
  if (!verify || !pin.empty()) return;
  if (instance.ca_file.empty()) {
    context.set_default_verify_paths();
    return;
  }
  error_code failure;
  context.load_verify_file(instance.ca_file, failure);
  if (failure) {
    throw_bad_input("ca_file", instance.ca_file,
                    fmt::format("it can't be read as certificates: {}", failure.message()));
  }
}

void ConnectionPool::State::prepare_tls(Wire& wire) {
  auto* const handle = wire.stream.native_handle();
  error_code not_an_address;
  asio::ip::make_address(host, not_an_address);
  const bool is_name = static_cast<bool>(not_an_address);
  // RFC 6066 section 3: no address in the server name.
  if (is_name) SSL_set_tlsext_host_name(handle, host.c_str());
  if (!verify || !pin.empty()) {
    wire.stream.set_verify_mode(ssl::verify_none);
    return;
  }
  auto* const wanted = SSL_get0_param(handle);
  if (is_name) {
    X509_VERIFY_PARAM_set1_host(wanted, host.c_str(), host.size());
  } else {
    X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str());
  }
  wire.stream.set_verify_mode(ssl::verify_peer);
  wire.stream.set_verify_callback([&wire](bool fine, ssl::verify_context& check) {
    auto* const store = check.native_handle();
    if (!fine) {
      wire.verdict.error = X509_STORE_CTX_get_error(store);
      wire.verdict.fingerprint = fingerprint_of(X509_STORE_CTX_get0_cert(store));
    }
    return fine;
  });
}

awaitable<void> ConnectionPool::State::connect(Wire& wire) {
  tcp::resolver resolver{executor};
  const auto endpoints =
      co_await resolver.async_resolve(host, std::to_string(port), asio::use_awaitable);
  co_await asio::async_connect(wire.stream.next_layer(), endpoints, asio::use_awaitable);
  wire.stream.next_layer().set_option(tcp::no_delay{true});
  prepare_tls(wire);
  co_await wire.stream.async_handshake(ssl::stream_base::client, asio::use_awaitable);
  if (verify && !pin.empty()) {
    const std::unique_ptr<X509, decltype(&X509_free)> certificate{
        SSL_get1_peer_certificate(wire.stream.native_handle()), &X509_free};
    const auto seen = fingerprint_of(certificate.get());
    if (seen != pin) throw pin_error(seen, pin, where());
  }
}

awaitable<std::unique_ptr<Wire>> ConnectionPool::State::open_once() {
  auto wire = std::make_unique<Wire>(executor, context);
  ++opened;
  try {
    co_await with_deadline(connect(*wire), Deadline::after(connect_limit), "connect");
    co_return wire;
  } catch (const system_error& e) {
    if (e.code() == asio::error::operation_aborted || is_passing(e.code())) throw;
    throw wire->verdict.error != X509_V_OK ? certificate_error(wire->verdict, where())
                                           : network_error(e.code());
  } catch (const Error& e) {
    if (e.kind != Errc::timeout) throw;
  }
  throw Error{Errc::unreachable, fmt::format("no connection within {} s", connect_limit.count())}
      .with_hint("Look at PROXMOX_HOST, PROXMOX_PORT and any firewall between");
}

awaitable<std::unique_ptr<Wire>> ConnectionPool::State::open() {
  for (std::size_t attempt = 0;; ++attempt) {
    error_code passing;
    try {
      co_return co_await open_once();
    } catch (const system_error& e) {
      if (e.code() == asio::error::operation_aborted) throw;
      passing = e.code();
    } catch (Error& e) {
      e.host = where();
      throw;
    }
    if (attempt == connect_pauses.size()) {
      auto error = network_error(passing);
      error.host = where();
      throw std::move(error);
    }
    co_await sleep_for(connect_pauses[attempt]);
  }
}

awaitable<void> ConnectionPool::State::write_stream(Wire& wire, const HttpRequest& request,
                                                    const bool& answered) {
  std::vector<char> piece(stream_piece);
  for (std::uint64_t left = request.stream->size(); left > 0 && !answered;) {
    const auto room = std::span{piece}.first(std::min<std::uint64_t>(piece.size(), left));
    const auto count = co_await request.stream->read(room);
    if (count == 0) throw Error{Errc::internal, "an upload's source ended before its size"};
    if (answered) co_return;
    error_code failure;
    co_await asio::async_write(wire.stream, asio::buffer(piece.data(), count),
                               asio::redirect_error(asio::use_awaitable, failure));
    // The server may refuse before it has read everything: its answer counts, which the reader
    // beside us is waiting for.
    if (failure) co_return;
    left -= count;
  }
}

awaitable<HttpResponse> ConnectionPool::State::exchange(Wire& wire, const HttpRequest& request,
                                                        Sent& sent) {
  http::response_parser<http::string_body> parser;
  parser.body_limit(largest_answer);
  const auto text = head_of(request, where(), extra_headers);
  const std::array<asio::const_buffer, 2> buffers{asio::buffer(text), asio::buffer(request.body)};
  sent = Sent::maybe;
  error_code write_failure;
  co_await asio::async_write(wire.stream, buffers,
                             asio::redirect_error(asio::use_awaitable, write_failure));
  if (write_failure == asio::error::operation_aborted) throw system_error{write_failure};

  bool answered = false;
  auto read = [](Wire& from, auto& into, bool& done) -> awaitable<void> {
    co_await http::async_read(from.stream, from.buffer, into, asio::use_awaitable);
    done = true;
    // Wakes a writer that the server no longer reads from.
    from.stream.next_layer().cancel();
  };
  if (request.stream != nullptr && !write_failure) {
    std::vector<awaitable<void>> both;
    both.push_back(write_stream(wire, request, answered));
    both.push_back(read(wire, parser, answered));
    co_await all(std::move(both));
  } else {
    // After a failed write there may still be an answer to read.
    co_await read(wire, parser, answered);
  }

  auto message = parser.release();
  HttpResponse response;
  response.status = static_cast<int>(message.result_int());
  response.reason = message.reason();
  for (const auto& field : message) {
    response.headers.emplace_back(field.name_string(), field.value());
  }
  response.body = std::move(message.body());
  co_return response;
}

std::unique_ptr<Wire> ConnectionPool::State::take_idle(bool for_reading) {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(idle, [&](const std::unique_ptr<Wire>& wire) {
    return now - wire->idle_since > limits.idle_for_reads || !wire->is_quiet();
  });
  if (idle.empty()) return nullptr;
  if (!for_reading && now - idle.back()->idle_since > limits.idle_for_writes) return nullptr;
  auto wire = std::move(idle.back());
  idle.pop_back();
  return wire;
}

void ConnectionPool::State::give_back(std::unique_ptr<Wire> wire, const HttpResponse& response) {
  if (!stays_open(response) || ++wire->served >= limits.requests || wire->buffer.size() > 0) return;
  wire->idle_since = std::chrono::steady_clock::now();
  idle.push_back(std::move(wire));
}

ConnectionPool::ConnectionPool(asio::any_io_executor executor, const Instance& instance)
    : state_{std::make_shared<State>(std::move(executor), instance)} {}

ConnectionPool::~ConnectionPool() = default;

awaitable<HttpResponse> ConnectionPool::send(const HttpRequest& request) {
  const auto state = state_;
  auto wire = request.fresh ? nullptr : state->take_idle(request.method == "GET");
  if (!wire) wire = co_await state->open();
  auto sent = Sent::no;
  std::optional<Error> failure;
  HttpResponse response;
  try {
    response = co_await state->exchange(*wire, request, sent);
  } catch (const system_error& e) {
    if (e.code() == asio::error::operation_aborted) throw;
    failure = torn(e.code());
  } catch (const Error& e) {
    failure = e;
  }
  if (failure) {
    failure->sent = sent;
    failure->host = state->where();
    throw *std::move(failure);
  }
  if (!request.fresh) state->give_back(std::move(wire), response);
  co_return response;
}

awaitable<std::unique_ptr<WebSocket>> ConnectionPool::open_socket(HttpRequest request) {
  const auto state = state_;
  auto wire = co_await state->open();
  request.headers.insert(request.headers.end(), state->extra_headers.begin(),
                         state->extra_headers.end());
  std::optional<Error> failure;
  try {
    co_return co_await upgrade(std::move(wire), std::move(request), state->where());
  } catch (const system_error& e) {
    if (e.code() == asio::error::operation_aborted) throw;
    failure = torn(e.code());
  } catch (const Error& e) {
    failure = e;
  }
  failure->host = state->where();
  throw *std::move(failure);
}

void ConnectionPool::close_idle() {
  state_->idle.clear();
}

std::uint64_t ConnectionPool::opened() const noexcept {
  return state_->opened;
}

}  // namespace px::pve
