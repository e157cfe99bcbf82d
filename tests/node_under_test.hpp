#pragma once
#include "node/node.hpp"
#include "support/bytes.hpp"
#include "temporary_directory.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <locale>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace px::testing {

/// std::ctype<char> fills two caches that all threads share without a lock (GCC bug 77704), and
/// compiling a std::regex on two threads is enough to make the thread sanitizer speak of it. They
/// are filled here, before there are threads.
inline const bool letters_are_cached = [] {
  const auto& letters = std::use_facet<std::ctype<char>>(std::locale::classic());
  letters.widen('a');
  for (int c = 1; c < 256; ++c) letters.narrow(static_cast<char>(c), '\0');
  return true;
}();

struct Reply {
  std::string version;  ///< empty: closed without an answer
  int status = 0;
  std::string reason;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;

  std::vector<std::string> all(std::string_view name) const {
    std::vector<std::string> out;
    for (const auto& [key, value] : headers) {
      if (key == name) out.push_back(value);
    }
    return out;
  }
  json::value json() const { return json::parse(body, "the answer"); }
  json::value data() const { return json().at("data"); }
  std::string text() const { return std::string{data().as_string()}; }
};

/// One TLS connection, blocking: bytes go out as given, answers are read as they come.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port) {
    context_.set_verify_mode(asio::ssl::verify_none);
    stream_.next_layer().connect({asio::ip::address_v4::loopback(), port});
    stream_.handshake(asio::ssl::stream_base::client);
  }

  void send(std::string_view bytes) { asio::write(stream_, asio::buffer(bytes)); }

  /// The next answer; an empty one when the server closed.
  Reply receive() {
    Reply out;
    boost::system::error_code error;
    const auto size = asio::read_until(stream_, asio::dynamic_buffer(buffer_), "\r\n\r\n", error);
    if (error) return out;
    std::istringstream lines{buffer_.substr(0, size)};
    buffer_.erase(0, size);
    std::string line;
    std::getline(lines, line);
    line.pop_back();
    out.version = line.substr(0, 8);
    out.status = std::atoi(line.c_str() + 9);
    out.reason = line.size() > 13 ? line.substr(13) : "";
    std::size_t length = 0;
    while (std::getline(lines, line) && line.size() > 1) {
      line.pop_back();
      const auto colon = line.find(": ");
      out.headers.emplace_back(line.substr(0, colon), line.substr(colon + 2));
      if (out.headers.back().first == "Content-Length") {
        length = std::stoul(out.headers.back().second);
      }
    }
    if (buffer_.size() < length) {
      asio::read(stream_, asio::dynamic_buffer(buffer_),
                 asio::transfer_exactly(length - buffer_.size()), error);
    }
    out.body = take(length);
    return out;
  }

  /// The next `count` bytes; fewer when the server closed.
  std::string read(std::size_t count) {
    boost::system::error_code error;
    if (buffer_.size() < count) {
      asio::read(stream_, asio::dynamic_buffer(buffer_),
                 asio::transfer_exactly(count - buffer_.size()), error);
    }
    return take(count);
  }

 private:
  std::string take(std::size_t count) {
    auto out = buffer_.substr(0, count);
    buffer_.erase(0, count);
    return out;
  }

  asio::io_context io_;
  asio::ssl::context context_{asio::ssl::context::tls_client};
  asio::ssl::stream<asio::ip::tcp::socket> stream_{io_, context_};
  std::string buffer_;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

inline std::string render_request(std::string_view method, std::string_view target,
                                  const Headers& headers, std::string_view body) {
  auto out = fmt::format("{} {} HTTP/1.1\r\nHost: node\r\n", method, target);
  for (const auto& [name, value] : headers) out += fmt::format("{}: {}\r\n", name, value);
  if (!body.empty() || method == "POST" || method == "PUT") {
    out += fmt::format("Content-Length: {}\r\n", body.size());
  }
  return out + "\r\n" + std::string{body};
}

/// A node with simulated machines in this process, on a thread of its own. Answers in its own
/// port; calls are made with an API token that has all rights.
class NodeUnderTest {
 public:
  explicit NodeUnderTest(std::string name = "proxmox")
      : NodeUnderTest(options_for(std::move(name))) {}
  explicit NodeUnderTest(node::NodeOptions options) {
    if (options.directory.empty()) options.directory = directory_.path() / "node";
    node_ = std::make_unique<node::Node>(io_.get_executor(), pool_, std::move(options));
    token_ = node_->token("test").reveal();
    asio::co_spawn(io_, node_->run(), [](std::exception_ptr) {});
    thread_ = std::thread{[this] { io_.run(); }};
  }
  ~NodeUnderTest() {
    asio::co_spawn(io_, node_->stop(), [this](std::exception_ptr) { io_.stop(); });
    thread_.join();
    node_.reset();
  }
  NodeUnderTest(const NodeUnderTest&) = delete;
  NodeUnderTest& operator=(const NodeUnderTest&) = delete;

  static node::NodeOptions options_for(std::string name) {
    node::NodeOptions options;
    options.name = std::move(name);
    options.port = 0;
    options.simulation.emplace();
    options.control = true;
    options.refusal_delay = std::chrono::milliseconds{60};
    return options;
  }

  node::Node& node() { return *node_; }
  /// Any thread.
  void add_fault(node::Fault fault) {
    std::packaged_task<void()> add{[&] { node_->faults().add(std::move(fault)); }};
    asio::post(io_, [&] { add(); });
    add.get_future().get();
  }
  std::uint16_t port() const { return node_->port(); }
  std::string password() const { return node_->password().reveal(); }
  Headers token() const {
    return {{"Authorization", fmt::format("PVEAPIToken=root@pam!test={}", token_)}};
  }

  /// The environment of a process that uses this node.
  std::map<std::string, std::string> variables(bool by_password = false) const {
    std::map<std::string, std::string> out{{"PROXMOX_HOST", "127.0.0.1"},
                                           {"PROXMOX_PORT", std::to_string(port())},
                                           {"PROXMOX_FINGERPRINT", node_->fingerprint()}};
    if (by_password) {
      out["PROXMOX_PASSWORD"] = password();
    } else {
      out["PROXMOX_TOKEN_ID"] = "root@pam!test";
      out["PROXMOX_TOKEN_SECRET"] = token_;
    }
    return out;
  }

  /// One request on a connection of its own, with exactly these headers.
  Reply send(std::string_view method, std::string_view target, const Headers& headers,
             std::string_view body = {}) const {
    RawClient client{port()};
    client.send(render_request(method, target, headers, body));
    return client.receive();
  }
  /// By token; `form` as body of POST and PUT, as query of GET and DELETE.
  Reply call(std::string_view method, const std::string& path, const std::string& form = {}) const {
    RawClient client{port()};
    return call(client, method, path, form);
  }
  /// The same on a connection that serves several: a handshake costs more than a request.
  Reply call(RawClient& client, std::string_view method, const std::string& path,
             const std::string& form = {}) const {
    const bool in_body = method == "POST" || method == "PUT";
    auto headers = token();
    if (in_body) headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
    auto target = "/api2/json" + path;
    if (!in_body && !form.empty()) target += "?" + form;
    client.send(render_request(method, target, headers, in_body ? form : ""));
    return client.receive();
  }
  /// As tests/eval counts them: what waits is asked more often on a slow machine.
  std::int64_t requests_without_polls() const {
    std::int64_t out = 0;
    const auto counted = send("GET", "/_control/requests", {}).data();
    for (const auto& [route, count] : counted.at("requests").as_object()) {
      const std::string name{route};
      if (name.find("/tasks/") != name.npos || name.ends_with("/agent/ping")) continue;
      out += count.to_number<std::int64_t>();
    }
    return out;
  }
  /// Waits for a task and returns its exit status.
  std::string end_of_task(const std::string& upid) const {
    const auto path = "/nodes/" + std::string{upid.substr(5, upid.find(':', 5) - 5)} + "/tasks/" +
                      percent_encode(upid) + "/status";
    for (int i = 0; i < 2000; ++i) {
      const auto status = call("GET", path).data();
      if (json::text_at(status, "status") == "stopped") return json::text_at(status, "exitstatus");
      std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    return "still running";
  }

 private:
  TemporaryDirectory directory_;
  asio::io_context io_{1};
  asio::thread_pool pool_{2};
  std::unique_ptr<node::Node> node_;
  std::string token_;
  std::thread thread_;
};

}  // namespace px::testing
