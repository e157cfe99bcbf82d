#pragma once
#include "node/node.hpp"
#include "support/bytes.hpp"
#include "support/json.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace px::testing {

struct Reply {
  std::string version;  ///< empty: closed without an answer
  int status = 0;
  std::string reason;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;

  std::vector<std::string> all(std::string_view name) const;
  json::value json() const { return json::parse(body, "the answer"); }
  json::value data() const { return json().at("data"); }
  std::string text() const { return std::string{data().as_string()}; }
};

/// One TLS connection, blocking: bytes go out as given, answers are read as they come.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void send(std::string_view bytes);
  /// The next answer; an empty one when the server closed.
  Reply receive();
  /// The next `count` bytes; fewer when the server closed.
  std::string read(std::size_t count);

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  std::string buffer_;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

std::string render_request(std::string_view method, std::string_view target, const Headers& headers,
                           std::string_view body);

/// Makes an image of the built-in debian13-small in `directory` and has PROXMOX_SANDBOX_IMAGES name
/// it. Simulated machines take any bytes for a disk.
void offer_built_in(const std::filesystem::path& directory);

/// In whose VMs every command ends well, by the words of src/guest/linux/scripts.hpp.
std::shared_ptr<node::SimulatedGuest> willing_guest();

/// A node with simulated machines in this process, on a thread of its own. Answers in its own
/// port; calls are made with an API token that has all rights.
class NodeUnderTest {
 public:
  explicit NodeUnderTest(std::string name = "proxmox");
  explicit NodeUnderTest(node::NodeOptions options);
  ~NodeUnderTest();
  NodeUnderTest(const NodeUnderTest&) = delete;
  NodeUnderTest& operator=(const NodeUnderTest&) = delete;

  static node::NodeOptions options_for(std::string name);

  node::Node& node();
  /// Any thread.
  void add_fault(node::Fault fault);
  std::uint16_t port() const;
  std::string password() const;
  Headers token() const;

  /// The environment of a process that uses this node.
  std::map<std::string, std::string> variables(bool by_password = false) const;

  /// One request on a connection of its own, with exactly these headers.
  Reply send(std::string_view method, std::string_view target, const Headers& headers,
             std::string_view body = {}) const;
  /// By token; `form` as body of POST and PUT, as query of GET and DELETE.
  Reply call(std::string_view method, const std::string& path, const std::string& form = {}) const;
  /// The same on a connection that serves several: a handshake costs more than a request.
  Reply call(RawClient& client, std::string_view method, const std::string& path,
             const std::string& form = {}) const;
  /// As tests/eval counts them: what waits is asked more often on a slow machine.
  std::int64_t requests_without_polls() const;
  /// Waits for a task and returns its exit status.
  std::string end_of_task(const std::string& upid) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace px::testing
