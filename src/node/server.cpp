#include "node/server.hpp"

#include "node/certificate.hpp"
#include "node/request.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace px::node {

namespace http = boost::beast::http;
namespace ssl = asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;
using namespace std::chrono_literals;

namespace {

// pve-facts section 2, pve-http-server AnyEvent.pm.
constexpr auto idle_limit = 5s;
constexpr int most_requests = 100;
constexpr std::size_t largest_body = 524288;
constexpr std::uint32_t largest_header = 8 * 1024;
constexpr auto proxy_limit = 30s;
constexpr std::size_t workers = 3;

using Stream = ssl::stream<tcp::socket>;
using Parser = http::request_parser<http::buffer_body>;

struct Answer {
  int status = 200;
  std::string reason = "OK";
  std::string body;
  std::string content_type;
  bool close = false;
  bool is_protected = false;
  bool dropped = false;  ///< a fault: no answer at all
};

std::string first_line(std::string_view text) {
  return std::string{text.substr(0, text.find('\n'))};
}

Answer answer_json(json::value body, bool is_protected) {
  Answer out;
  out.body = boost::json::serialize(body);
  out.content_type = "application/json;charset=UTF-8";
  out.is_protected = is_protected;
  return out;
}

Answer answer_error(const ApiError& error) {
  Answer out;
  out.status = error.status;
  out.reason = first_line(error.message);
  out.close = true;  // any status of 400 or more closes the connection
  // Failures before the handler, and those of the proxy, have no body.
  if (error.status == 401 && error.message.back() != '\n') return out;
  if (error.status >= 595) return out;
  json::object body{
      {"data", nullptr},
      {"message", error.message.ends_with('\n') ? error.message : error.message + "\n"}};
  if (!error.errors.empty()) {
    json::object errors;
    for (const auto& [name, text] : error.errors) errors[name] = text;
    body["errors"] = std::move(errors);
  }
  out.body = boost::json::serialize(body);
  out.content_type = "application/json;charset=UTF-8";
  return out;
}

Answer answer_text(int status, std::string reason) {
  Answer out;
  out.status = status;
  out.body = reason;
  out.reason = std::move(reason);
  out.content_type = "text/plain";
  out.close = true;
  return out;
}

std::string render(const Answer& answer, bool keep) {
  std::string out =
      fmt::format("HTTP/1.1 {} {}\r\nCache-Control: max-age=0\r\n", answer.status, answer.reason);
  // The inner daemon's answer is passed on with its own `Connection: close`, before the front's.
  if (answer.is_protected && answer.status < 400) out += "Connection: close\r\n";
  out += keep ? "Connection: Keep-Alive\r\n" : "Connection: close\r\n";
  out += fmt::format("Pragma: no-cache\r\nServer: pve-api-daemon/3.0\r\nContent-Length: {}\r\n",
                     answer.body.size());
  if (!answer.content_type.empty()) out += fmt::format("Content-Type: {}\r\n", answer.content_type);
  return out + "\r\n" + answer.body;
}

}  // namespace

struct Server::Impl {
  Impl(asio::any_io_executor executor_, Router& router_, Access& access_, Faults& faults_,
       std::filesystem::path spool_, ServerOptions options_)
      : executor{std::move(executor_)},
        acceptor{executor},
        router{router_},
        access{access_},
        faults{faults_},
        spool{std::move(spool_)},
        options{std::move(options_)} {}

  awaitable<void> serve(std::shared_ptr<Stream> stream);
  awaitable<bool> serve_one(Stream& stream, boost::beast::flat_buffer& buffer, int served);
  awaitable<Answer> respond(Stream& stream, boost::beast::flat_buffer& buffer, Parser& parser,
                            bool& read_all);
  awaitable<std::string> read_body(Stream& stream, boost::beast::flat_buffer& buffer,
                                   Parser& parser);
  awaitable<UploadedFile> read_upload(Stream& stream, boost::beast::flat_buffer& buffer,
                                      Parser& parser, Values& fields);
  awaitable<json::value> run_handler(const Route& route, Call& call);
  awaitable<json::value> act(const Route& route, Call& call, const std::optional<Fault>& fault,
                             bool& dropped);

  asio::any_io_executor executor;
  ssl::context context{ssl::context::tls_server};
  tcp::acceptor acceptor;
  Router& router;
  Access& access;
  Faults& faults;
  std::filesystem::path spool;
  ServerOptions options;
  std::string fingerprint;
  Semaphore worker_slots{workers};
  std::set<std::shared_ptr<Stream>> connections;
  std::uint64_t uploads = 0;
  bool stopping = false;
  std::function<void(const std::string&, const std::string&, const std::string&, int)>* on_request =
      nullptr;
};

awaitable<std::string> Server::Impl::read_body(Stream& stream, boost::beast::flat_buffer& buffer,
                                               Parser& parser) {
  std::string body;
  std::string piece(16 * 1024, '\0');
  while (!parser.is_done()) {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    error_code error;
    co_await http::async_read(stream, buffer, parser,
                              asio::redirect_error(asio::use_awaitable, error));
    if (error && error != http::error::need_buffer) throw boost::system::system_error{error};
    body.append(piece, 0, piece.size() - parser.get().body().size);
    if (body.size() > largest_body) throw ApiError{501, "for data too large"};
  }
  co_return body;
}

awaitable<UploadedFile> Server::Impl::read_upload(Stream& stream, boost::beast::flat_buffer& buffer,
                                                  Parser& parser, Values& fields) {
  const auto path = spool / fmt::format("upload-{}", ++uploads);
  MultipartParser parts{std::string{parser.get()[http::field::content_type]}, path};
  std::string piece(256 * 1024, '\0');
  while (!parser.is_done()) {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    error_code error;
    co_await http::async_read(stream, buffer, parser,
                              asio::redirect_error(asio::use_awaitable, error));
    if (error && error != http::error::need_buffer) throw boost::system::system_error{error};
    parts.feed(std::string_view{piece}.substr(0, piece.size() - parser.get().body().size));
  }
  auto file = parts.finish();
  for (const auto& [name, values] : parts.fields()) fields[name] = values;
  fields["filename"] = {file.name};
  co_return file;
}

/// Protected calls wait for one of three workers, at most 30 s.
awaitable<json::value> Server::Impl::run_handler(const Route& route, Call& call) {
  if (!route.is_protected) co_return co_await route.handler(call);
  Semaphore::Permit worker;
  auto wait = [](Semaphore& slots, Semaphore::Permit& out) -> awaitable<void> {
    out = co_await slots.acquire();
  };
  try {
    co_await with_deadline(wait(worker_slots, worker), Deadline::after(proxy_limit), "worker");
  } catch (const Error& error) {
    if (error.kind != Errc::timeout) throw;
    throw ApiError{596, "Connection timed out"};
  }
  co_return co_await route.handler(call);
}

awaitable<json::value> Server::Impl::act(const Route& route, Call& call,
                                         const std::optional<Fault>& fault, bool& dropped) {
  if (!fault) co_return co_await run_handler(route, call);
  switch (fault->action) {
    case Fault::Action::answer:
      throw ApiError{fault->status, fault->message};
    case Fault::Action::drop_before:
      dropped = true;
      co_return nullptr;
    case Fault::Action::delay:
      co_await sleep_for(fault->delay);
      break;
    case Fault::Action::duplicate: {
      Call again = call;
      co_await run_handler(route, again);
      break;
    }
    case Fault::Action::drop_after: {
      try {
        co_await run_handler(route, call);
      } catch (const ApiError&) {
        // Refused, and the refusal is lost too.
      }
      dropped = true;
      co_return nullptr;
    }
  }
  co_return co_await run_handler(route, call);
}

awaitable<Answer> Server::Impl::respond(Stream& stream, boost::beast::flat_buffer& buffer,
                                        Parser& parser, bool& read_all) {
  const auto& head = parser.get();
  const std::string method{head.method_string()};
  const std::string target{head.target()};
  const auto question = target.find('?');
  std::string path = target.substr(0, question);
  bool extjs = false;
  const bool control = options.control && path.starts_with("/_control/");
  if (path.starts_with("/api2/json")) {
    path.erase(0, 10);
  } else if (path.starts_with("/api2/extjs")) {
    path.erase(0, 11);
    extjs = true;
  } else if (!control) {
    co_return answer_error(
        ApiError{501, fmt::format("Method '{} {}' not implemented", method, path)});
  }
  if (method != "GET" && method != "POST" && method != "PUT" && method != "DELETE") {
    co_return answer_text(501, fmt::format("method '{}' not available", method));
  }
  if (head.chunked()) co_return answer_text(501, "chunked transfer encoding not supported");
  const auto length = parser.content_length().value_or(0);
  if (length > 0 && (method == "GET" || method == "DELETE")) {
    co_return answer_text(501, fmt::format("Unexpected content for method '{}'", method));
  }

  std::map<std::string, std::string> path_values;
  const Route& route = router.match(method, path, path_values);
  Call call;
  call.method = method;
  call.path = path;
  Identity caller{"", false};
  if (!route.open) {
    caller = access.identify(head[http::field::cookie], head[http::field::authorization]);
    if (!route.allow_token && !caller.by_ticket) {
      throw ApiError{403, fmt::format("Permission check failed (URI '{}' not available with API "
                                      "token, need proper ticket.\n)",
                                      path)};
    }
    if (method != "GET" && !route.takes_file)
      access.check_csrf(caller, head["CSRFPreventionToken"]);
  }
  call.user = caller.user;

  Values given;
  const std::string content_type{head[http::field::content_type]};
  if (route.takes_file) {
    if (!content_type.starts_with("multipart/form-data")) {
      Answer lost;  // the real server closes without a word
      lost.dropped = true;
      co_return lost;
    }
    call.file = co_await read_upload(stream, buffer, parser, given);
  } else {
    if (length > largest_body) throw ApiError{501, "for data too large"};
    const auto body = co_await read_body(stream, buffer, parser);
    if (content_type.starts_with("application/json")) {
      parse_json(body, given);
    } else if (content_type.empty() ||
               content_type.starts_with("application/x-www-form-urlencoded")) {
      parse_form(body, given);
    } else if (!body.empty()) {
      co_return answer_text(506,
                            fmt::format("upload 'Content-Type '{}' not implemented", content_type));
    }
  }
  read_all = true;
  if (question != std::string::npos) {
    Values query;
    parse_form(std::string_view{target}.substr(question + 1), query);
    for (auto& [name, values] : query) given[name] = std::move(values);  // the query wins
  }
  given.erase("_dc");

  Answer answer;
  std::optional<ApiError> failure;
  bool dropped = false;
  const auto fault = control ? std::nullopt : faults.next(method, path, route.path);
  try {
    check_parameters(route, path_values, std::move(given), call);
    auto data = co_await act(route, call, fault, dropped);
    json::object body{{"data", std::move(data)}};
    if (call.total) body["total"] = *call.total;
    if (extjs) body["success"] = 1;
    answer = answer_json(std::move(body), route.is_protected);
  } catch (const ApiError& error) {
    failure = error;
  } catch (const Error& error) {
    failure = ApiError{500, error.said};
  }
  if (call.file && std::filesystem::exists(call.file->path) && failure) {
    std::filesystem::remove(call.file->path);
  }
  if (failure && extjs) {
    json::object body{{"success", 0},
                      {"status", failure->status},
                      {"message", failure->message},
                      {"data", nullptr}};
    answer = answer_json(std::move(body), false);
  } else if (failure) {
    answer = answer_error(*failure);
  }
  answer.dropped = dropped;
  if (on_request != nullptr && *on_request && method != "GET") {
    (*on_request)(method, path, call.user, answer.status);
  }
  co_return answer;
}

/// True when the connection stays.
awaitable<bool> Server::Impl::serve_one(Stream& stream, boost::beast::flat_buffer& buffer,
                                        int served) {
  Parser parser;
  parser.header_limit(largest_header);
  parser.body_limit(boost::none);
  auto read_head = [](Stream& from, boost::beast::flat_buffer& into, Parser& out,
                      error_code& error) -> awaitable<void> {
    co_await http::async_read_header(from, into, out,
                                     asio::redirect_error(asio::use_awaitable, error));
  };
  error_code error;
  co_await with_deadline(read_head(stream, buffer, parser, error), Deadline::after(idle_limit),
                         "request");
  if (error) co_return false;
  const auto started = std::chrono::steady_clock::now();
  bool read_all = false;
  Answer answer;
  try {
    answer = co_await respond(stream, buffer, parser, read_all);
  } catch (const ApiError& e) {
    answer = answer_error(e);
  }
  if (answer.dropped) co_return false;
  if (answer.status == 401) {
    const auto waited = std::chrono::steady_clock::now() - started;
    if (waited < options.refusal_delay) co_await sleep_for(options.refusal_delay - waited);
  }
  const bool keep = !answer.close && read_all && served < most_requests &&
                    parser.get().version() == 11 && !stopping;
  const auto text = render(answer, keep);
  co_await asio::async_write(stream, asio::buffer(text),
                             asio::redirect_error(asio::use_awaitable, error));
  co_return keep && !error;
}

awaitable<void> Server::Impl::serve(std::shared_ptr<Stream> stream) {
  try {
    auto shake = [](Stream& with) -> awaitable<void> {
      co_await with.async_handshake(ssl::stream_base::server, asio::use_awaitable);
    };
    co_await with_deadline(shake(*stream), Deadline::after(idle_limit), "handshake");
    boost::beast::flat_buffer buffer;
    for (int served = 1; co_await serve_one(*stream, buffer, served); ++served) {
    }
    auto goodbye = [](Stream& with) -> awaitable<void> {
      error_code ignored;
      co_await with.async_shutdown(asio::redirect_error(asio::use_awaitable, ignored));
    };
    co_await with_deadline(goodbye(*stream), Deadline::after(1s), "shutdown");
  } catch (const std::exception& error) {
    log::debug("a connection ended: {}", error.what());
  }
  connections.erase(stream);
}

Server::Server(asio::any_io_executor executor, State& state, Router& router, Access& access,
               Faults& faults, std::filesystem::path spool, ServerOptions options)
    : impl_{std::make_unique<Impl>(std::move(executor), router, access, faults, std::move(spool),
                                   options)} {
  auto certificate = state.read("certificate.pem");
  auto key = state.read("certificate.key");
  if (!certificate || !key) {
    const auto made = make_certificate();
    state.write("certificate.key", made.key_pem);
    state.write("certificate.pem", made.certificate_pem);
    certificate = made.certificate_pem;
    key = made.key_pem;
  }
  impl_->context.use_certificate_chain(asio::buffer(*certificate));
  impl_->context.use_private_key(asio::buffer(*key), ssl::context::pem);
  impl_->fingerprint = fingerprint_of(*certificate);
  impl_->on_request = &on_request;
  if (options.control) faults.add_routes(router);
  try {
    const tcp::endpoint endpoint{asio::ip::make_address(options.address), options.port};
    impl_->acceptor.open(endpoint.protocol());
    impl_->acceptor.set_option(tcp::acceptor::reuse_address{true});
    impl_->acceptor.bind(endpoint);
    impl_->acceptor.listen();
  } catch (const boost::system::system_error& error) {
    throw Error{Errc::unreachable, fmt::format("can't listen on {}:{}: {}", options.address,
                                               options.port, error.code().message())}
        .with_hint("Choose another port with --port (0 = any).");
  }
}

Server::~Server() = default;

std::uint16_t Server::port() const noexcept {
  return impl_->acceptor.local_endpoint().port();
}
const std::string& Server::fingerprint() const noexcept {
  return impl_->fingerprint;
}

awaitable<void> Server::run() {
  while (!impl_->stopping) {
    auto stream = std::make_shared<Stream>(impl_->executor, impl_->context);
    error_code error;
    co_await impl_->acceptor.async_accept(stream->next_layer(),
                                          asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      co_await sleep_for(100ms);  // out of descriptors, perhaps: others close meanwhile
      continue;
    }
    stream->next_layer().set_option(tcp::no_delay{true});
    impl_->connections.insert(stream);
    asio::co_spawn(impl_->executor, impl_->serve(stream), [](std::exception_ptr) {});
  }
}

void Server::stop() {
  impl_->stopping = true;
  error_code ignored;
  impl_->acceptor.cancel(ignored);
  for (const auto& stream : impl_->connections) stream->next_layer().cancel(ignored);
}

}  // namespace px::node
