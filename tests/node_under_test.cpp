#include "node_under_test.hpp"

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

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <future>
#include <locale>
#include <sstream>
#include <thread>

namespace px::testing {

namespace {

/// std::ctype<char> fills two caches that all threads share without a lock (GCC bug 77704), and
/// compiling a std::regex on two threads is enough to make the thread sanitizer speak of it. They
/// are filled here, before there are threads.
const bool letters_are_cached = [] {
  const auto& letters = std::use_facet<std::ctype<char>>(std::locale::classic());
  letters.widen('a');
  for (int c = 1; c < 256; ++c) letters.narrow(static_cast<char>(c), '\0');
  return true;
}();

}  // namespace

std::vector<std::string> Reply::all(std::string_view name) const {
  std::vector<std::string> out;
  for (const auto& [key, value] : headers) {
    if (key == name) out.push_back(value);
  }
  return out;
}

// --- a connection --------------------------------------------------------------------------------

struct RawClient::Stream {
  asio::io_context io{};
  asio::ssl::context context{asio::ssl::context::tls_client};
  asio::ssl::stream<asio::ip::tcp::socket> socket{io, context};
};

RawClient::RawClient(std::uint16_t port) : stream_{std::make_unique<Stream>()} {
  stream_->context.set_verify_mode(asio::ssl::verify_none);
  stream_->socket.next_layer().connect({asio::ip::address_v4::loopback(), port});
  stream_->socket.handshake(asio::ssl::stream_base::client);
}

RawClient::~RawClient() = default;

void RawClient::send(std::string_view bytes) {
  asio::write(stream_->socket, asio::buffer(bytes));
}

Reply RawClient::receive() {
  Reply out;
  boost::system::error_code error;
  const auto size =
      asio::read_until(stream_->socket, asio::dynamic_buffer(buffer_), "\r\n\r\n", error);
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
  out.body = read(length);
  return out;
}

std::string RawClient::read(std::size_t count) {
  boost::system::error_code error;
  if (buffer_.size() < count) {
    asio::read(stream_->socket, asio::dynamic_buffer(buffer_),
               asio::transfer_exactly(count - buffer_.size()), error);
  }
  auto out = buffer_.substr(0, count);
  buffer_.erase(0, count);
  return out;
}

std::string render_request(std::string_view method, std::string_view target, const Headers& headers,
                           std::string_view body) {
  auto out = fmt::format("{} {} HTTP/1.1\r\nHost: node\r\n", method, target);
  for (const auto& [name, value] : headers) out += fmt::format("{}: {}\r\n", name, value);
  if (!body.empty() || method == "POST" || method == "PUT") {
    out += fmt::format("Content-Length: {}\r\n", body.size());
  }
  return out + "\r\n" + std::string{body};
}

// --- the node ------------------------------------------------------------------------------------

struct NodeUnderTest::Parts {
  TemporaryDirectory directory{};
  asio::io_context io{1};
  asio::thread_pool pool{2};
  std::unique_ptr<node::Node> node{};
  std::string token{};
  std::thread thread{};
};

NodeUnderTest::NodeUnderTest(std::string name) : NodeUnderTest(options_for(std::move(name))) {}

NodeUnderTest::NodeUnderTest(node::NodeOptions options) : parts_{std::make_unique<Parts>()} {
  auto& parts = *parts_;
  if (options.directory.empty()) options.directory = parts.directory.path() / "node";
  parts.node =
      std::make_unique<node::Node>(parts.io.get_executor(), parts.pool, std::move(options));
  parts.token = parts.node->token("test").reveal();
  asio::co_spawn(parts.io, parts.node->run(), [](std::exception_ptr) {});
  parts.thread = std::thread{[&parts] { parts.io.run(); }};
}

NodeUnderTest::~NodeUnderTest() {
  auto& parts = *parts_;
  asio::co_spawn(parts.io, parts.node->stop(), [&parts](std::exception_ptr) { parts.io.stop(); });
  parts.thread.join();
  parts.node.reset();
}

node::NodeOptions NodeUnderTest::options_for(std::string name) {
  node::NodeOptions options;
  options.name = std::move(name);
  options.port = 0;
  options.simulation.emplace();
  options.control = true;
  options.refusal_delay = std::chrono::milliseconds{60};
  return options;
}

node::Node& NodeUnderTest::node() {
  return *parts_->node;
}

void NodeUnderTest::add_fault(node::Fault fault) {
  std::packaged_task<void()> add{[&] { parts_->node->faults().add(std::move(fault)); }};
  asio::post(parts_->io, [&] { add(); });
  add.get_future().get();
}

std::uint16_t NodeUnderTest::port() const {
  return parts_->node->port();
}

std::string NodeUnderTest::password() const {
  return parts_->node->password().reveal();
}

Headers NodeUnderTest::token() const {
  return {{"Authorization", fmt::format("PVEAPIToken=root@pam!test={}", parts_->token)}};
}

std::map<std::string, std::string> NodeUnderTest::variables(bool by_password) const {
  std::map<std::string, std::string> out{{"PROXMOX_HOST", "127.0.0.1"},
                                         {"PROXMOX_PORT", std::to_string(port())},
                                         {"PROXMOX_FINGERPRINT", parts_->node->fingerprint()}};
  if (by_password) {
    out["PROXMOX_PASSWORD"] = password();
  } else {
    out["PROXMOX_TOKEN_ID"] = "root@pam!test";
    out["PROXMOX_TOKEN_SECRET"] = parts_->token;
  }
  return out;
}

Reply NodeUnderTest::send(std::string_view method, std::string_view target, const Headers& headers,
                          std::string_view body) const {
  RawClient client{port()};
  client.send(render_request(method, target, headers, body));
  return client.receive();
}

Reply NodeUnderTest::call(std::string_view method, const std::string& path,
                          const std::string& form) const {
  RawClient client{port()};
  return call(client, method, path, form);
}

Reply NodeUnderTest::call(RawClient& client, std::string_view method, const std::string& path,
                          const std::string& form) const {
  const bool in_body = method == "POST" || method == "PUT";
  auto headers = token();
  if (in_body) headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
  auto target = "/api2/json" + path;
  if (!in_body && !form.empty()) target += "?" + form;
  client.send(render_request(method, target, headers, in_body ? form : ""));
  return client.receive();
}

void offer_built_in(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  std::ofstream{directory / "debian13-small.qcow2"} << std::string(512, 'x');
  ::setenv("PROXMOX_SANDBOX_IMAGES", directory.c_str(), 1);
}

std::shared_ptr<node::SimulatedGuest> willing_guest() {
  return std::make_shared<node::SimulatedGuest>("x 0 boot \n");
}

std::int64_t NodeUnderTest::requests_without_polls() const {
  std::int64_t out = 0;
  const auto counted = send("GET", "/_control/requests", {}).data();
  for (const auto& [route, count] : counted.at("requests").as_object()) {
    const std::string name{route};
    if (name.find("/tasks/") != name.npos || name.ends_with("/agent/ping")) continue;
    out += count.to_number<std::int64_t>();
  }
  return out;
}

std::string NodeUnderTest::end_of_task(const std::string& upid) const {
  const auto path = "/nodes/" + std::string{upid.substr(5, upid.find(':', 5) - 5)} + "/tasks/" +
                    percent_encode(upid) + "/status";
  for (int i = 0; i < 2000; ++i) {
    const auto status = call("GET", path).data();
    if (json::text_at(status, "status") == "stopped") return json::text_at(status, "exitstatus");
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
  return "still running";
}

}  // namespace px::testing
