// What the real server answered, asked again of the local node (../shared/pve/exchanges): the same
// status, reason and messages, and data of the same kind.
#include "node_under_test.hpp"

#include <boost/algorithm/string/replace.hpp>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace {

using namespace px;
using px::testing::Headers;
using px::testing::NodeUnderTest;
using px::testing::Reply;

/// Exchanges that can't come out the same, with the reason. Calls that the node does not implement
/// are in `not_implemented`.
const std::map<std::string, std::string> skipped{
    {"01 39", "the node has one user"},
    {"01 42", "the node has one user"},
    {"02 7", "a VM of an earlier scenario was there"},
    {"02 9", "no pages for browsers"},
    {"02 22", "Perl's words about broken JSON"},
    {"02 36", "a VM of an earlier scenario was there"},
    {"02 38", "not every option of a VM is offered"},
    {"02 39", "a VM of an earlier scenario was there, locked"},
    {"02 44", "the chunks were not recorded; tests/node sends some"},
    {"02 45", "the body was not recorded; tests/node sends one"},
    {"02 46", "the body was not recorded; tests/node sends one"},
    {"02 47", "made by 02 45"},
    {"02 48", "made by 02 45"},
    {"02 51", "the request line was not recorded; tests/node sends HTTP/1.0"},
    {"02 52", "HTTP/2.0 is left to the HTTP library"},
    {"02 68", "a VM of an earlier scenario was there"},
    {"08 25", "the recording machine could not plug disks"},
    {"08 36", "the recording machine could not resize a running VM's disk"},
    {"08 40", "the recording machine could not resize a running VM's disk"},
    {"10 53", "disks of running VMs are not copied"},
    {"10 57", "made by 10 53"},
    {"11 26", "the recording machine's QEMU could not load a state"},
};

/// Calls of the recordings that the node does not offer: it says so with 501.
const std::set<std::string> not_implemented{
    "GET /",
    "GET /access",
    "GET /access/acl",
    "PUT /access/acl",
    "GET /access/roles",
    "GET /access/ticket",
    "GET /access/users",
    "POST /access/users",
    "GET /cluster",
    "GET /cluster/options",
    "PUT /cluster/options",
    "GET /nodes/pve1",
    "GET /nodes/pve1/network",
    "GET /nodes/pve1/query-url-metadata",
    "POST /storage",
    "PUT /storage/local",
    "GET /nodes/pve1/storage/local",
    "POST /nodes/pve1/storage/local/content",
    "POST /nodes/pve1/storage/local/download-url",
    "GET /nodes/pve1/storage/local/import-metadata",
};

/// What was done between two scenarios without being recorded.
const std::map<std::string, std::string> before{
    {"10 0", "/nodes/pve1/qemu/100/status/stop"},
};

json::value load(const std::string& scenario) {
  std::ifstream file{std::filesystem::path{PX_SOURCE_DIR} / "../shared/pve/exchanges" /
                     (scenario + ".json")};
  if (!file) return nullptr;
  std::stringstream text;
  text << file.rdbuf();
  return json::parse(text.str(), scenario);
}

/// A path without what names one object.
std::string route_of(std::string path) {
  path.resize(std::min(path.find('?'), path.size()));
  path = std::regex_replace(path, std::regex{"^/api2/(json|extjs)"}, "");
  path = std::regex_replace(path, std::regex{"/UPID[^/]*"}, "/{upid}");
  path = std::regex_replace(path, std::regex{"/qemu/[0-9]+"}, "/qemu/{vmid}");
  return path;
}

/// The text without what differs between two runs.
std::string normal(std::string text) {
  text = std::regex_replace(text, std::regex{R"(UPID:[^"]*:)"}, "UPID");
  text = std::regex_replace(text, std::regex{R"(/[^' ]*/(template|images|import)/)"}, "/$1/");
  text = std::regex_replace(text, std::regex{R"(got '[0-9a-f]{64}')"}, "got");
  text = std::regex_replace(text, std::regex{R"( at /usr/share/perl5/.*)"}, "");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Replay {
 public:
  void run(const std::string& scenario) {
    const auto recorded = load(scenario);
    ASSERT_FALSE(recorded.is_null());
    for (const auto& exchange : recorded.as_array()) note_end(exchange);
    int index = -1;
    for (const auto& exchange : recorded.as_array()) {
      ++index;
      const auto name = fmt::format("{} {}", scenario.substr(0, 2), index);
      if (skipped.contains(name)) continue;
      if (const auto it = before.find(name); it != before.end()) {
        EXPECT_EQ(node_.end_of_task(node_.call("POST", it->second).text()), "OK");
      }
      SCOPED_TRACE(name + " " + json::text_or(exchange, "note"));
      repeat(exchange);
    }
  }
  int compared = 0;

 private:
  /// How a recorded task ended.
  void note_end(const json::value& exchange) {
    const auto body = json::text_or(exchange.at("response"), "body");
    if (body.find("exitstatus") == std::string::npos || body.find("<cut") != std::string::npos)
      return;
    const auto answer = json::parse(body, "recorded");
    const auto& data = answer.at("data");
    if (data.is_object()) ends_[json::text_at(data, "upid")] = json::text_at(data, "exitstatus");
  }

  void repeat(const json::value& exchange) {
    const auto& request = exchange.at("request");
    const auto& response = exchange.at("response");
    const auto method = json::text_at(request, "method");
    const auto target = fill(json::text_at(request, "path"));
    if (target.find("/tasks/UPID") != std::string::npos) {
      return;  // their ends are looked at where they start
    }
    const auto line = json::text_at(response, "status_line");
    const int status = line.empty() ? 0 : std::stoi(line.substr(9, 3));
    const auto reply = node_.send(method, target, headers_of(request), body_of(request));
    if (reply.status == 501 && reply.reason.find("not implemented") != std::string::npos &&
        status != 501) {
      EXPECT_TRUE(not_implemented.contains(method + " " + route_of(target)))
          << method << " " << route_of(target);
      return;
    }
    ++compared;
    EXPECT_EQ(reply.status, status) << line << "\n" << reply.reason << "\n" << reply.body;
    if (reply.status != status) return;
    const auto reason = line.size() > 13 ? line.substr(13) : "";
    EXPECT_EQ(normal(reply.reason), normal(reason));
    const auto theirs = json::text_or(response, "body");
    compare_bodies(reply, theirs);
    compare_connection(reply, response);
    remember(reply, theirs);
  }

  void compare_bodies(const Reply& reply, const std::string& recorded) {
    EXPECT_EQ(reply.body.empty(), recorded.empty()) << reply.body << "\n" << recorded;
    const bool cut = recorded.find("...<cut") != std::string::npos;
    if (!recorded.starts_with('{') || cut) return;
    const auto ours = reply.json();
    const auto theirs = json::parse(recorded, "recorded");
    EXPECT_EQ(normal(json::text_or(ours, "message")), normal(json::text_or(theirs, "message")));
    const auto kind = [](const json::value& body) {
      const auto* data = body.as_object().if_contains("data");
      return data == nullptr ? "none" : boost::json::to_string(data->kind());
    };
    EXPECT_EQ(kind(ours), kind(theirs)) << reply.body << "\n" << recorded;
    const auto messages = [](const json::value& body) {
      std::map<std::string, std::string> out;
      if (const auto* errors = json::find(body, "errors")) {
        for (const auto& [key, text] : errors->as_object()) {
          out[std::string{key}] = std::string{text.as_string()};
        }
      }
      return out;
    };
    EXPECT_EQ(messages(ours), messages(theirs));
  }

  static void compare_connection(const Reply& reply, const json::value& response) {
    std::vector<std::string> theirs;
    for (const auto& header : response.at("headers").as_array()) {
      if (header.at(0).as_string() == "Connection") {
        theirs.emplace_back(header.at(1).as_string());
      }
    }
    EXPECT_EQ(reply.all("Connection"), theirs);
  }

  /// Secrets and tasks of later requests.
  void remember(const Reply& reply, const std::string& recorded) {
    if (reply.status != 200 || !reply.body.starts_with('{')) return;
    const auto data = reply.data();
    if (data.is_object() && data.as_object().contains("ticket")) {
      values_["<ticket>"] = json::text_at(data, "ticket");
      values_["<csrf>"] = json::text_at(data, "CSRFPreventionToken");
    }
    if (data.is_object() && data.as_object().contains("full-tokenid")) {
      const bool full = json::text_at(data, "full-tokenid") == "root@pam!full";
      values_[full ? "<token-secret>" : "<token-secret-2>"] = json::text_at(data, "value");
    }
    if (data.is_string() && data.as_string().starts_with("UPID:")) {
      const auto theirs = std::string{json::parse(recorded, "").at("data").as_string()};
      compare_ends(std::string{data.as_string()}, theirs);
    }
  }

  /// The exit status of a task, where the recording has it.
  void compare_ends(const std::string& upid, const std::string& theirs) {
    EXPECT_EQ(std::count(upid.begin(), upid.end(), ':'),
              std::count(theirs.begin(), theirs.end(), ':'));
    const auto end = node_.end_of_task(upid);
    const auto it = ends_.find(theirs);
    if (it != ends_.end()) EXPECT_EQ(normal(end), normal(it->second)) << upid;
  }

  std::string fill(std::string text) const {
    for (const auto& [placeholder, value] : values_) {
      boost::algorithm::replace_all(text, placeholder, value);
    }
    return text;
  }

  Headers headers_of(const json::value& request) const {
    Headers out;
    for (const auto& header : request.at("headers").as_array()) {
      const std::string name{header.at(0).as_string()};
      if (name != "Content-Length")
        out.emplace_back(name, fill(std::string{header.at(1).as_string()}));
    }
    return out;
  }

  std::string body_of(const json::value& request) const {
    const auto note = json::text_or(request, "body_note");
    if (note.starts_with("multipart")) return multipart(note);
    auto body = json::text_or(request, "body");
    for (const auto& [placeholder, value] : values_) {
      boost::algorithm::replace_all(body, placeholder, percent_encode(value));
    }
    return body;
  }

  /// An upload as recorded, with a small file of ours in it.
  static std::string multipart(const std::string& note) {
    const std::string file(1000, 'x');
    const std::string end = "\r\n------bnd1234567890";
    const auto at = note.find("head: ");
    auto head =
        at == std::string::npos
            ? "------bnd1234567890\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\n"
              "import" +
                  end +
                  "\r\nContent-Disposition: form-data; name=\"filename\"; "
                  "filename=\"guest.qcow2\"\r\nContent-Type: application/"
            : note.substr(at + 6);
    boost::algorithm::replace_all(
        head, "4ad5d6aa30af6c6b6987be19948524048809fca564f1ca0d342c3b5fb4ededd4", sha256_hex(file));
    return head + "octet-stream\r\n\r\n" + file + end + "--\r\n";
  }

  static node::NodeOptions slow_boot() {
    auto options = NodeUnderTest::options_for("pve1");
    options.simulation->boot_time = std::chrono::seconds{3};
    options.simulation->agent_limits.ping = std::chrono::milliseconds{40};
    return options;
  }

  NodeUnderTest node_{slow_boot()};
  std::map<std::string, std::string> values_{{"<password>", node_.password()}};
  std::map<std::string, std::string> ends_;
};

TEST(Replay, answersAsTheRealServerDid) {
  if (load("01-auth").is_null()) GTEST_SKIP() << "no recordings beside the checkout";
  Replay replay;
  for (const auto* scenario : {"01-auth", "02-http", "03-storage", "04-create-import-start",
                               "08-config", "10-template-clone", "09-power", "11-snapshots"}) {
    replay.run(scenario);
  }
  EXPECT_GT(replay.compared, 200);
}

}  // namespace
