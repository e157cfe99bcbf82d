#include "tls_server.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>

namespace px::testing {

namespace ssl = asio::ssl;
using asio::ip::tcp;

namespace {

template <class T, void (*Free)(T*)>
using Owned = std::unique_ptr<T, decltype([](T* p) { Free(p); })>;

template <class Write>
std::string to_pem(Write write) {
  const std::unique_ptr<BIO, decltype([](BIO* b) { BIO_free(b); })> out{BIO_new(BIO_s_mem())};
  write(out.get());
  const char* text = nullptr;
  const auto size = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Received parse_head(const std::string& head) {
  Received out;
  const auto first_end = head.find("\r\n");
  const auto line = head.substr(0, first_end);
  const auto space = line.find(' ');
  out.method = line.substr(0, space);
  out.target = line.substr(space + 1, line.rfind(' ') - space - 1);
  for (auto at = first_end + 2; at < head.size() - 2;) {
    const auto end = head.find("\r\n", at);
    const auto colon = head.find(": ", at);
    out.headers[lower(head.substr(at, colon - at))] = head.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  return out;
}

}  // namespace

Certificate make_certificate(const CertificateOptions& options) {
  const Owned<EVP_PKEY, EVP_PKEY_free> key{EVP_EC_gen("P-256")};
  const Owned<X509, X509_free> certificate{X509_new()};
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 7);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60L * 24 * 3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), options.days_from_now * 24L * 3600);
  X509_set_pubkey(certificate.get(), key.get());
  auto* const name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(options.name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(certificate.get(), name);
  const auto names = options.name == "localhost" ? std::string{"DNS:localhost,IP:127.0.0.1"}
                                                 : "DNS:" + options.name;
  auto* const extension =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
  X509_add_ext(certificate.get(), extension, -1);
  X509_EXTENSION_free(extension);
  X509_sign(certificate.get(), key.get(), EVP_sha256());

  Certificate out;
  out.key_pem = to_pem([&](BIO* to) {
    PEM_write_bio_PrivateKey(to, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
  out.certificate_pem = to_pem([&](BIO* to) { PEM_write_bio_X509(to, certificate.get()); });
  std::string digest(32, '\0');
  X509_digest(certificate.get(), EVP_sha256(), reinterpret_cast<unsigned char*>(digest.data()),
              nullptr);
  out.fingerprint = to_hex(digest);
  return out;
}

std::string Received::header(const std::string& name) const {
  const auto found = headers.find(lower(name));
  return found == headers.end() ? std::string{} : found->second;
}

std::string Received::path() const {
  const auto path = target.substr(0, target.find('?'));
  constexpr std::string_view prefix = "/api2/json";
  return path.starts_with(prefix) ? path.substr(prefix.size()) : path;
}

Reply json_reply(const std::string& body) {
  return {
      fmt::format("HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: Keep-Alive\r\n"
                  "Date: {:%a, %d %b %Y %H:%M:%S} GMT\r\nContent-Type: application/json\r\n"
                  "Content-Length: {}\r\n\r\n{}",
                  fmt::gmtime(std::time(nullptr)), body.size(), body)};
}

Reply data_reply(const std::string& data) {
  return json_reply("{\"data\":" + data + "}");
}

Reply error_reply(int status, const std::string& message) {
  const auto body = fmt::format("{{\"data\":null,\"message\":\"{}\\n\"}}", message);
  return {fmt::format("HTTP/1.1 {} {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}", status,
                      message, body.size(), body),
          true};
}

Reply no_reply() {
  return {"", true};
}

struct TlsServer::Peer {
  Peer(tcp::socket socket, ssl::context& context)
      : stream{std::move(socket), context}, timer{stream.get_executor()} {}
  void close() {
    boost::system::error_code ignored;
    stream.next_layer().close(ignored);
    timer.cancel();
  }
  ssl::stream<tcp::socket> stream;
  asio::steady_timer timer;
  int number = 0;
};

TlsServer::TlsServer(asio::any_io_executor executor, Certificate certificate, Handler handler)
    : executor_{std::move(executor)},
      certificate_{std::move(certificate)},
      handler_{std::move(handler)},
      acceptor_{executor_, tcp::endpoint{asio::ip::address_v4::loopback(), 0}} {
  context_.use_certificate_chain(asio::buffer(certificate_.certificate_pem));
  context_.use_private_key(asio::buffer(certificate_.key_pem), ssl::context::pem);
  spawn(accept());
}

void TlsServer::spawn(awaitable<void> work) {
  ++running_;
  asio::co_spawn(executor_, std::move(work), [this](std::exception_ptr) { --running_; });
}

std::uint16_t TlsServer::port() const {
  return acceptor_.local_endpoint().port();
}

int TlsServer::count(const std::string& method, const std::string& path) const {
  return static_cast<int>(std::ranges::count_if(
      received_, [&](const Received& r) { return r.method == method && r.path() == path; }));
}

void TlsServer::stop() {
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  stopped_ = true;
  for (auto& weak : peers_) {
    if (const auto peer = weak.lock()) peer->close();
  }
}

awaitable<void> TlsServer::end() {
  stop();
  while (running_ > 0) co_await sleep_for(std::chrono::milliseconds{1});
}

awaitable<void> TlsServer::accept() {
  for (;;) {
    boost::system::error_code closed;
    auto socket =
        co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, closed));
    if (closed) co_return;
    if (stopped_) co_return;
    auto peer = std::make_shared<Peer>(std::move(socket), context_);
    peer->number = ++connection_count_;
    peers_.push_back(peer);
    spawn(serve(std::move(peer)));
  }
}

awaitable<void> TlsServer::serve(std::shared_ptr<Peer> peer) {
  constexpr std::size_t kept = 64u << 10;
  try {
    co_await peer->stream.async_handshake(ssl::stream_base::server, asio::use_awaitable);
    std::string buffer;
    for (int number = 1;; ++number) {
      peer->timer.expires_after(idle_limit);
      peer->timer.async_wait([peer](boost::system::error_code error) {
        if (!error) peer->close();
      });
      const auto head_size = co_await asio::async_read_until(
          peer->stream, asio::dynamic_buffer(buffer), "\r\n\r\n", asio::use_awaitable);
      peer->timer.cancel();
      auto request = parse_head(buffer.substr(0, head_size));
      request.connection = peer->number;
      request.on_this_connection = number;
      buffer.erase(0, head_size);
      const auto length = request.header("content-length");
      request.body_size = length.empty() ? 0 : std::stoull(length);
      if (!answers_before_body || !answers_before_body(request)) {
        Sha256 hash;
        auto left = request.body_size;
        std::vector<char> piece(kept);
        while (left > 0) {
          if (buffer.empty()) {
            const auto got = co_await peer->stream.async_read_some(
                asio::buffer(piece.data(), std::min<std::uint64_t>(left, piece.size())),
                asio::use_awaitable);
            buffer.assign(piece.data(), got);
          }
          const auto used = std::min<std::uint64_t>(left, buffer.size());
          hash.update(std::string_view{buffer}.substr(0, used));
          request.body.append(buffer, 0, std::min(used, kept - request.body.size()));
          buffer.erase(0, used);
          left -= used;
        }
        request.body_sha256 = hash.hex();
      }
      received_.push_back(request);
      most_at_once_ = std::max(most_at_once_, ++at_once_);
      const auto reply = handler_(request);
      if (reply.delay.count() > 0) {
        peer->timer.expires_after(reply.delay);
        boost::system::error_code ignored;
        co_await peer->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      }
      --at_once_;
      if (!reply.bytes.empty()) {
        co_await asio::async_write(peer->stream, asio::buffer(reply.bytes), asio::use_awaitable);
      }
      if (reply.close) {
        co_await peer->stream.async_shutdown(asio::use_awaitable);
        co_return;
      }
    }
  } catch (const boost::system::system_error&) {
    // The client went away, or the test ended.
  }
  peer->close();
}

}  // namespace px::testing
