#include "node/server.hpp"

#include "node/certificate.hpp"
#include "node/request.hpp"
#include "node/rights.hpp"
#include "node/websocket.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
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
constexpr int most_header_lines = 64;
constexpr auto proxy_limit = 30s;
/// Without a byte of a body that was announced.
constexpr auto body_limit = 30s;
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
  /// Instead of the answer, when the client asks for a WebSocket.
  std::function<awaitable<void>(Messages&)> conversation{};
};

/// The message's first line, as the bytes of a status line: Latin-1, no control characters.
std::string reason_of(const std::string& message) {
  auto reason = utf8_to_latin1(std::string_view{message}.substr(0, message.find('\n')));
  std::replace_if(
      reason.begin(), reason.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  return reason;
}

Answer answer_json(json::value body, bool is_protected) {
  Answer out;
  out.body = boost::json::serialize(body);
  out.content_type = "application/json;charset=UTF-8";
  out.is_protected = is_protected;
  return out;
}

/// A failure before any handler: its text, or nothing, as body.
Answer answer_text(int status, std::string reason, bool with_body = true) {
  Answer out;
  out.status = status;
  if (with_body) {
    out.body = reason;
    out.content_type = "text/plain";
  }
  out.reason = reason_of(reason);
  out.close = true;
  return out;
}

Answer answer_error(const ApiError& error) {
  Answer out;
  out.status = error.status;
  out.close = true;  // any status of 400 or more closes the connection
  try {
    out.reason = reason_of(error.message);
  } catch (const Error&) {
    // A character above U+00FF kills the real worker while it writes the reason (section 2).
    return answer_text(596, "Broken pipe", false);
  }
  // Failures before the handler, and those of the proxy, have no body.
  if (error.status == 401 && !error.message.ends_with('\n')) return out;
  if (error.status >= 595) return out;
  // Texts that a handler dies with end in a line break; "not implemented" comes from the router.
  const bool as_it_is = error.status == 501 || error.message.ends_with('\n');
  json::object body{{"data", nullptr}, {"message", error.message + (as_it_is ? "" : "\n")}};
  if (!error.errors.empty()) {
    json::object errors;
    for (const auto& [name, text] : error.errors) errors[name] = text;
    body["errors"] = std::move(errors);
  }
  out.body = boost::json::serialize(body);
  out.content_type = "application/json;charset=UTF-8";
  return out;
}

/// Closed without a word, as the real server does here and there.
Answer lost_answer() {
  Answer out;
  out.dropped = true;
  return out;
}

/// Ends a request before its handler.
struct Refusal {
  Answer answer;
};

std::string render(const Answer& answer, bool keep, unsigned version) {
  std::string out = fmt::format("HTTP/1.{} {} {}\r\nCache-Control: max-age=0\r\n", version % 10,
                                answer.status, answer.reason);
  // The inner daemon's answer is passed on with its own `Connection: close`, before the front's.
  if (answer.is_protected && keep) out += "Connection: close\r\n";
  out += keep ? "Connection: Keep-Alive\r\n" : "Connection: close\r\n";
  const auto now = fmt::gmtime(std::time(nullptr));
  out += fmt::format("Date: {:%a, %d %b %Y %H:%M:%S} GMT\r\nPragma: no-cache\r\n", now);
  out += fmt::format("Server: pve-api-daemon/3.0\r\nContent-Length: {}\r\n", answer.body.size());
  if (!answer.content_type.empty()) out += fmt::format("Content-Type: {}\r\n", answer.content_type);
  return out + "\r\n" + answer.body;
}

}  // namespace

struct Server::Impl {
  /// One client.
  struct Connection {
    Connection(const asio::any_io_executor& executor, ssl::context& context)
        : stream{executor, context} {}
    Stream stream;
    boost::beast::flat_buffer buffer;
    asio::cancellation_signal stop;
  };
  using ConnectionPtr = std::shared_ptr<Connection>;

  /// A protected call. It goes on when its client was told 596 already.
  struct Work {
    Work(const asio::any_io_executor& executor, Call given)
        : call{std::move(given)}, done{executor} {}
    Call call;
    json::value result;
    std::exception_ptr error;
    Event done;
    asio::cancellation_signal stop;
  };
  using WorkPtr = std::shared_ptr<Work>;

  /// What a request's head says: which route, by whom.
  struct Head {
    const Route* route = nullptr;
    std::map<std::string, std::string> path_values;
    std::string query;
    Call call;
    bool extjs = false;
    bool control = false;
  };

  Impl(asio::any_io_executor executor_, Cluster& cluster_, Access& access_, Faults& faults_,
       std::filesystem::path spool_, ServerOptions options_)
      : executor{std::move(executor_)},
        acceptor{executor},
        cluster{cluster_},
        access{access_},
        faults{faults_},
        spool{std::move(spool_)},
        options{std::move(options_)} {}

  awaitable<void> serve(ConnectionPtr connection);
  awaitable<void> drain(Connection& connection, Parser& parser);
  awaitable<bool> serve_one(Connection& connection, int served);
  awaitable<Answer> respond(Connection& connection, Parser& parser, bool& read_all);
  Head read_head(const Parser& parser) const;
  void identify(const http::request<http::buffer_body>& request, Head& head) const;
  awaitable<std::string_view> read_piece(Connection& connection, Parser& parser,
                                         std::string& space);
  awaitable<std::string> read_body(Connection& connection, Parser& parser);
  awaitable<UploadedFile> read_upload(Connection& connection, Parser& parser, Values& fields);
  awaitable<Values> read_parameters(Connection& connection, Parser& parser, Head& head);
  awaitable<Answer> act(Head& head, Values given);
  awaitable<json::value> run_faulty(const Route& route, Call& call,
                                    const std::optional<Fault>& fault, bool& dropped);
  awaitable<json::value> run_handler(const Route& route, Call& call);
  awaitable<void> work_on(const Route& route, WorkPtr work);

  asio::any_io_executor executor;
  ssl::context context{ssl::context::tls_server};
  tcp::acceptor acceptor;
  Cluster& cluster;
  Access& access;
  Faults& faults;
  std::filesystem::path spool;
  ServerOptions options;
  std::string fingerprint;
  /// Of each node, by its name.
  std::map<std::string, Semaphore> worker_slots;
  std::set<ConnectionPtr> connections;
  std::set<WorkPtr> works;
  std::uint64_t uploads = 0;
  bool stopping = false;
  std::function<void(const std::string&, const std::string&, const std::string&, int)>* on_request =
      nullptr;
};

Server::Impl::Head Server::Impl::read_head(const Parser& parser) const {
  const auto& request = parser.get();
  const std::string method{request.method_string()};
  const std::string target{request.target()};
  const auto question = std::min(target.find('?'), target.size());
  const auto uri = target.substr(0, question);
  if (std::distance(request.begin(), request.end()) > most_header_lines) {
    throw Refusal{lost_answer()};
  }
  Head head;
  if (question < target.size()) head.query = target.substr(question + 1);
  if (method != "GET" && method != "POST" && method != "PUT" && method != "DELETE") {
    throw Refusal{answer_text(501, fmt::format("method '{}' not available", method), false)};
  }
  head.call.method = method;
  head.control = options.control && uri.starts_with("/_control/");
  if (head.control) {
    head.call.path = uri;
  } else if (!uri.starts_with("/api2")) {
    throw Refusal{answer_text(500, fmt::format("no such file '{}'\n", uri))};
  } else {
    const auto format_end = std::min(uri.find('/', 6), uri.size());
    const auto format = uri.size() > 6 ? uri.substr(6, format_end - 6) : "";
    head.call.path = uri.substr(format_end);
    if (format.empty()) throw Refusal{answer_text(501, "no such uri")};
    if (format != "json" && format != "extjs") {
      throw Refusal{
          answer_text(501, fmt::format("no formatter for uri {}, {}", head.call.path, format))};
    }
    head.extjs = format == "extjs";
  }
  if (request.chunked()) {
    throw Refusal{answer_text(501, "chunked transfer encoding not supported")};
  }
  const auto length = parser.content_length().value_or(0);
  if (length > 0 && (method == "GET" || method == "DELETE")) {
    throw Refusal{answer_text(501, fmt::format("Unexpected content for method '{}'", method))};
  }
  head.route = cluster.local().router.find(method, head.call.path, head.path_values);
  identify(request, head);
  if (head.route == nullptr) {
    throw ApiError{501, fmt::format("Method '{} {}' not implemented", method, head.call.path)};
  }
  if (!head.route->takes_file && length > largest_body) {
    throw Refusal{answer_text(501, "for data too large")};
  }
  return head;
}

/// Who calls, and whether they may call at all. A path that isn't there is told only to those who
/// are known, as the real server does.
void Server::Impl::identify(const http::request<http::buffer_body>& request, Head& head) const {
  const bool by_token = request[http::field::authorization].starts_with("PVEAPIToken=");
  if (head.route != nullptr && head.route->open && (head.route->allow_token || !by_token)) return;
  const auto caller =
      access.identify(request[http::field::cookie], request[http::field::authorization]);
  head.call.user = caller.user;
  const bool takes_file = head.route != nullptr && head.route->takes_file;
  if (head.call.method != "GET" && !takes_file) {
    access.check_csrf(caller, request["CSRFPreventionToken"]);
  }
  if (head.route == nullptr) return;
  if (!head.route->allow_token && !caller.by_ticket) {
    throw ApiError{403, fmt::format("Permission check failed (URI '{}' not available with API "
                                    "token, need proper ticket.\n)\n",
                                    head.call.path)};
  }
  if (const auto node = head.path_values.find("node"); node != head.path_values.end()) {
    const auto& router = cluster.reachable(node->second).router;
    head.route = router.find(head.call.method, head.call.path, head.path_values);
  }
}

/// The next bytes of the body, in `space`.
awaitable<std::string_view> Server::Impl::read_piece(Connection& connection, Parser& parser,
                                                     std::string& space) {
  parser.get().body().data = space.data();
  parser.get().body().size = space.size();
  error_code error;
  auto read = [](Connection& from, Parser& into, error_code& failure) -> awaitable<void> {
    co_await http::async_read(from.stream, from.buffer, into,
                              asio::redirect_error(asio::use_awaitable, failure));
  };
  co_await with_deadline(read(connection, parser, error), Deadline::after(body_limit), "body");
  if (error && error != http::error::need_buffer) throw boost::system::system_error{error};
  co_return std::string_view{space}.substr(0, space.size() - parser.get().body().size);
}

awaitable<std::string> Server::Impl::read_body(Connection& connection, Parser& parser) {
  std::string body;
  std::string space(16 * 1024, '\0');
  while (!parser.is_done()) body += co_await read_piece(connection, parser, space);
  co_return body;
}

awaitable<UploadedFile> Server::Impl::read_upload(Connection& connection, Parser& parser,
                                                  Values& fields) {
  const auto path = spool / fmt::format("upload-{}", ++uploads);
  MultipartParser parts{std::string{parser.get()[http::field::content_type]}, path};
  std::string space(256 * 1024, '\0');
  while (!parser.is_done()) parts.feed(co_await read_piece(connection, parser, space));
  auto file = parts.finish();
  for (const auto& [name, values] : parts.fields()) fields[name] = values;
  fields["filename"] = {file.name};
  co_return file;
}

awaitable<Values> Server::Impl::read_parameters(Connection& connection, Parser& parser,
                                                Head& head) {
  Values given;
  const std::string content_type{parser.get()[http::field::content_type]};
  if (head.route->takes_file) {
    if (!content_type.starts_with("multipart/form-data")) {
      throw Refusal{lost_answer()};
    }
    head.call.file = co_await read_upload(connection, parser, given);
  } else {
    const auto body = co_await read_body(connection, parser);
    if (content_type.starts_with("application/json")) {
      try {
        parse_json(body, given);
      } catch (const ApiError& error) {
        if (error.status != 500) throw;
        throw Refusal{answer_text(500, error.message)};
      }
    } else if (content_type.empty() ||
               content_type.starts_with("application/x-www-form-urlencoded")) {
      parse_form(body, given);
    } else if (!body.empty()) {
      throw Refusal{
          answer_text(506, fmt::format("upload 'Content-Type '{}' not implemented", content_type))};
    }
  }
  Values query;
  parse_form(head.query, query);
  for (auto& [name, values] : query) given[name] = std::move(values);  // the query wins
  given.erase("_dc");
  co_return given;
}

awaitable<void> Server::Impl::work_on(const Route& route, WorkPtr work) {
  const auto& node = cluster.at(work->call.text_or("node", "localhost")).vms.node();
  auto& slots = worker_slots.try_emplace(node, workers).first->second;
  const auto worker = co_await slots.acquire();
  work->result = co_await route.handler(work->call);
}

/// Protected calls share three workers; what is not answered within 30 s, the wait for a worker
/// included, is given up by the front but not by the worker (pve-facts section 2).
awaitable<json::value> Server::Impl::run_handler(const Route& route, Call& call) {
  if (!route.is_protected) co_return co_await route.handler(call);
  const auto work = std::make_shared<Work>(executor, call);
  works.insert(work);
  asio::co_spawn(
      executor, work_on(route, work),
      asio::bind_cancellation_slot(work->stop.slot(), [this, work](std::exception_ptr error) {
        work->error = error;
        works.erase(work);
        work->done.set();
      }));
  try {
    co_await with_deadline(work->done.wait(), Deadline::after(proxy_limit), "protected call");
  } catch (const Error& error) {
    if (error.kind != Errc::timeout) throw;
    throw ApiError{596, "Connection timed out"};
  }
  if (work->error) std::rethrow_exception(work->error);
  call.total = work->call.total;
  co_return std::move(work->result);
}

awaitable<json::value> Server::Impl::run_faulty(const Route& route, Call& call,
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
    case Fault::Action::call:
      fault->call();
      break;
    case Fault::Action::duplicate: {
      Call again = call;
      co_await run_handler(route, again);
      break;
    }
    case Fault::Action::drop_after: {
      dropped = true;  // a refusal is lost as well
      co_return co_await run_handler(route, call);
    }
  }
  co_return co_await run_handler(route, call);
}

/// Checks the parameters, runs the handler, and puts its result or failure into an answer.
awaitable<Answer> Server::Impl::act(Head& head, Values given) {
  const Route& route = *head.route;
  const auto fault =
      head.control ? std::nullopt : faults.next(head.call.method, head.call.path, route.path);
  Answer answer;
  std::optional<ApiError> failure;
  bool dropped = false;
  try {
    const bool sees_nothing = !route.open && !access.has_rights(head.call.user) &&
                              is_empty_without_rights(route, head.path_values, given);
    check_parameters(route, head.path_values, std::move(given), head.call);
    json::value data = json::array{};
    if (!sees_nothing) data = co_await run_faulty(route, head.call, fault, dropped);
    json::object body{{"data", std::move(data)}};
    if (head.call.total) body["total"] = *head.call.total;
    if (head.extjs) body["success"] = 1;
    answer = answer_json(std::move(body), route.is_protected);
    if (route.conversation) {
      answer.conversation = [&route, call = head.call](Messages& messages) mutable {
        return route.conversation(call, messages);
      };
    }
  } catch (const ApiError& error) {
    failure = error;
  } catch (const Error& error) {
    failure = ApiError{500, error.said};
  } catch (const std::exception& error) {
    if (is_cancellation(std::current_exception())) throw;
    log::error("{} {}: {}", head.call.method, head.call.path, error.what());
    failure = ApiError{500, error.what()};
  }
  if (failure && head.call.file) {
    std::error_code ignored;
    std::filesystem::remove(head.call.file->path, ignored);
  }
  if (failure && head.extjs) {
    answer = answer_json(json::object{{"success", 0},
                                      {"status", failure->status},
                                      {"message", failure->message},
                                      {"data", nullptr}},
                         false);
  } else if (failure) {
    answer = answer_error(*failure);
  }
  if (route.takes_file) answer.close = true;
  answer.dropped = dropped;
  if (*on_request && head.call.method != "GET") {
    (*on_request)(head.call.method, head.call.path, head.call.user, answer.status);
  }
  co_return answer;
}

awaitable<Answer> Server::Impl::respond(Connection& connection, Parser& parser, bool& read_all) {
  auto head = read_head(parser);
  auto given = co_await read_parameters(connection, parser, head);
  read_all = true;
  co_return co_await act(head, std::move(given));
}

/// Reads on for a while what was refused: closing on a client that is still sending would cost it
/// the answer (a reset overtakes it).
awaitable<void> Server::Impl::drain(Connection& connection, Parser& parser) {
  auto read = [](Impl& self, Connection& from, Parser& into) -> awaitable<void> {
    std::string space(64 * 1024, '\0');
    while (!into.is_done()) co_await self.read_piece(from, into, space);
  };
  try {
    co_await with_deadline(read(*this, connection, parser), Deadline::after(2s), "rest");
  } catch (const Error& error) {
    if (error.kind != Errc::timeout) throw;
  }
}

/// True when the connection stays.
awaitable<bool> Server::Impl::serve_one(Connection& connection, int served) {
  Parser parser;
  parser.header_limit(largest_header);
  parser.body_limit(boost::none);
  auto read = [](Connection& from, Parser& into, error_code& failure) -> awaitable<void> {
    co_await http::async_read_header(from.stream, from.buffer, into,
                                     asio::redirect_error(asio::use_awaitable, failure));
  };
  error_code error;
  co_await with_deadline(read(connection, parser, error), Deadline::after(idle_limit), "request");
  if (error) co_return false;
  const auto started = std::chrono::steady_clock::now();
  bool read_all = false;
  Answer answer;
  try {
    answer = co_await respond(connection, parser, read_all);
  } catch (const Refusal& refusal) {
    answer = refusal.answer;
  } catch (const ApiError& e) {
    answer = answer_error(e);
  }
  if (answer.dropped) co_return false;
  if (answer.conversation && asks_for_websocket(parser.get())) {
    co_await converse(connection.stream, parser.get(), std::move(answer.conversation));
    co_return false;
  }
  if (answer.status == 401) {
    const auto waited = std::chrono::steady_clock::now() - started;
    if (waited < options.refusal_delay) co_await sleep_for(options.refusal_delay - waited);
  }
  const bool keep =
      !answer.close && read_all && served < most_requests && parser.keep_alive() && !stopping;
  const auto text = render(answer, keep, parser.get().version());
  auto write = [](Connection& to, const std::string& bytes,
                  error_code& failure) -> awaitable<void> {
    co_await asio::async_write(to.stream, asio::buffer(bytes),
                               asio::redirect_error(asio::use_awaitable, failure));
  };
  co_await with_deadline(write(connection, text, error), Deadline::after(body_limit), "answer");
  if (!error && !parser.is_done()) co_await drain(connection, parser);
  co_return keep && !error;
}

awaitable<void> Server::Impl::serve(ConnectionPtr connection) {
  auto shake = [](Stream& with) -> awaitable<void> {
    co_await with.async_handshake(ssl::stream_base::server, asio::use_awaitable);
  };
  co_await with_deadline(shake(connection->stream), Deadline::after(idle_limit), "handshake");
  for (int served = 1; co_await serve_one(*connection, served); ++served) {
  }
  auto goodbye = [](Stream& with) -> awaitable<void> {
    error_code ignored;
    co_await with.async_shutdown(asio::redirect_error(asio::use_awaitable, ignored));
  };
  co_await with_deadline(goodbye(connection->stream), Deadline::after(1s), "shutdown");
}

Server::Server(asio::any_io_executor executor, State& state, Cluster& cluster, Access& access,
               Faults& faults, std::filesystem::path spool, ServerOptions options)
    : impl_{std::make_unique<Impl>(std::move(executor), cluster, access, faults, std::move(spool),
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
  if (options.control) {
    faults.add_routes(cluster.local().router);
    cluster.add_control_routes();
  }
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
  auto& self = *impl_;
  while (!self.stopping) {
    const auto connection = std::make_shared<Impl::Connection>(self.executor, self.context);
    error_code error;
    co_await self.acceptor.async_accept(connection->stream.next_layer(),
                                        asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      co_await sleep_for(100ms);  // out of descriptors, perhaps: others close meanwhile
      continue;
    }
    connection->stream.next_layer().set_option(tcp::no_delay{true}, error);
    self.connections.insert(connection);
    asio::co_spawn(self.executor, self.serve(connection),
                   asio::bind_cancellation_slot(connection->stop.slot(),
                                                [&self, connection](std::exception_ptr) {
                                                  // A client that went away is no news.
                                                  self.connections.erase(connection);
                                                }));
  }
}

awaitable<void> Server::stop() {
  auto& self = *impl_;
  self.stopping = true;
  error_code ignored;
  self.acceptor.cancel(ignored);
  const std::vector<Impl::WorkPtr> works{self.works.begin(), self.works.end()};
  for (const auto& work : works) work->stop.emit(asio::cancellation_type::terminal);
  const std::vector<Impl::ConnectionPtr> open{self.connections.begin(), self.connections.end()};
  for (const auto& connection : open) connection->stop.emit(asio::cancellation_type::terminal);
  while (!self.connections.empty() || !self.works.empty()) co_await sleep_for(5ms);
}

}  // namespace px::node
