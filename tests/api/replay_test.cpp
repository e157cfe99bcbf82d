// What the real server answered, asked again of the local node (../shared/pve/exchanges): the same
// status, reason and messages, and data of the same kind.
#include "http_files.hpp"
#include "node/tar_files.hpp"
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
    {"03 73", "the recording machine had no wget"},
    {"03 82", "the recording machine had no wget"},
    {"08 25", "the recording machine could not plug disks"},
    {"08 36", "the recording machine could not resize a running VM's disk"},
    {"08 40", "the recording machine could not resize a running VM's disk"},
    {"10 53", "disks of running VMs are not copied"},
    {"10 57", "made by 10 53"},
    {"11 26", "the recording machine's QEMU could not load a state"},
    {"12 67", "simulated guests have no interfaces"},
    {"12 87", "which of the zone's VNets is named is chance"},
    {"16 18", "a path of the recording machine"},
    {"16 49", "the recording machine had no sendmail"},
    {"16 54", "the recording machine had no sendmail"},
    {"16 58", "the recording machine had no sendmail"},
    {"25 72", "the recording machine's DHCP server was down"},
    {"25 76", "the recording machine was down"},
    {"25 77", "the recording machine was down"},
    {"25 78", "the recording machine was down"},
    {"28 10", "simulated guests have no interfaces"},
    {"28 11", "made by 28 10"},
    {"28 12", "simulated guests have no interfaces"},
    {"28 13", "made by 28 12"},
    {"28 14", "simulated guests have no interfaces"},
    {"28 15", "made by 28 14"},
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
    "GET /cluster/sdn/dry-run",
    "POST /storage",
    "PUT /storage/local",
    "GET /nodes/pve1/storage/local",
    "POST /nodes/pve1/storage/local/content",
};

/// What was done between two exchanges without being recorded.
struct Unrecorded {
  std::string before;  ///< the next exchange
  std::string method;
  std::string path;
  std::string form{};
};

Unrecorded clone(std::string before, int vmid) {
  return {std::move(before), "POST", "/nodes/pve1/qemu/100/clone", fmt::format("newid={}", vmid)};
}
Unrecorded power(std::string before, int vmid, std::string_view what) {
  return {std::move(before), "POST", fmt::format("/nodes/pve1/qemu/{}/status/{}", vmid, what)};
}
Unrecorded destroy(std::string before, int vmid) {
  return {std::move(before), "DELETE", fmt::format("/nodes/pve1/qemu/{}", vmid)};
}
Unrecorded remove(std::string before, std::string_view object) {
  return {std::move(before), "DELETE", fmt::format("/cluster/sdn/{}", object)};
}

const std::string ssh_rule = "type=in&action=ACCEPT&proto=tcp&dport=22&enable=1";

const std::vector<Unrecorded> unrecorded{
    power("10 0", 100, "stop"),
    remove("12 30", "zones/Zone2"),
    power("12 60", 101, "stop"),
    {"12 72", "PUT", "/cluster/sdn/vnets/vnet1/firewall/options", "enable=1&policy_forward=DROP"},
    {"12 78", "PUT", "/nodes/pve1/qemu/101/firewall/options", "enable=1&policy_in=DROP"},
    {"12 81", "POST", "/nodes/pve1/qemu/101/firewall/rules", ssh_rule},
    {"12 81", "POST", "/nodes/pve1/qemu/101/firewall/rules", ssh_rule},
    power("12 94", 101, "stop"),
    destroy("16 29", 141),
    destroy("16 64", 140),
    clone("25 14", 301),
    power("25 14", 301, "start"),
    clone("26 35", 320),
    clone("26 39", 321),
    clone("26 43", 322),
    clone("26 47", 323),
    clone("26 51", 324),
    power("26 99", 324, "stop"),
    destroy("26 99", 320),
    destroy("26 99", 321),
    destroy("26 99", 322),
    destroy("26 99", 323),
    destroy("26 99", 324),
    power("26 31", 310, "stop"),
    destroy("26 31", 310),
    clone("26 105", 320),
    clone("26 109", 321),
    clone("26 113", 322),
    destroy("26 140", 320),
    destroy("26 140", 321),
    destroy("26 140", 322),
    remove("27 0", "vnets/ev1/subnets/ez1-10.61.0.0-24"),
    remove("27 0", "vnets/ev2/subnets/ez1-10.62.0.0-24"),
    remove("27 0", "vnets/ev1"),
    remove("27 0", "vnets/ev2"),
    remove("27 0", "zones/ez1"),
    clone("27 68", 333),
    clone("27 76", 334),
    clone("28 5", 335),
    power("29 0", 333, "stop"),
    destroy("29 0", 333),
    remove("29 0", "vnets/edv0/subnets/ed0-10.70.0.0-24"),
    remove("29 0", "vnets/eod3/subnets/eo3-10.84.0.0-24"),
    remove("29 0", "vnets/eod4/subnets/eo4-10.84.0.0-24"),
    clone("29 10", 340),
    power("29 24", 340, "stop"),
    destroy("29 24", 340),
    clone("29 24", 341),
    power("29 38", 341, "stop"),
    destroy("29 38", 341),
    clone("29 38", 342),
    power("29 49", 342, "stop"),
    destroy("29 49", 342),
    clone("29 53", 343),
    power("29 57", 343, "start"),
    clone("30 10", 344),
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
  path = std::regex_replace(path, std::regex{"/vnets/[^/]+"}, "/vnets/{vnet}");
  return path;
}

/// A value with all members in one order, without what differs between two runs.
std::string comparable(const json::value& value) {
  if (value.is_array()) {
    std::string out;
    for (const auto& item : value.as_array()) out += "[" + comparable(item) + "]";
    return out;
  }
  if (!value.is_object()) return boost::json::serialize(value);
  std::set<std::string> members;
  const bool is_gateway_address = value.as_object().contains("ip") && value.at("ip").is_string() &&
                                  value.as_object().contains("gateway");
  for (const auto& [key, member] : value.as_object()) {
    if (key == "digest" || key == "mac") continue;
    if (key == "vnet" && is_gateway_address) continue;  // chance, where subnets overlap
    members.insert(fmt::format("{}={}", std::string_view{key}, comparable(member)));
  }
  return fmt::format("{}", fmt::join(members, " "));
}

/// A value with the members of its objects in one order, digests included.
std::string exact(const json::value& value) {
  std::multiset<std::string> members;
  if (value.is_array()) {
    std::string out;
    for (const auto& item : value.as_array()) out += "[" + exact(item) + "]";
    return out;
  }
  if (!value.is_object()) return boost::json::serialize(value);
  for (const auto& [key, member] : value.as_object()) {
    members.insert(fmt::format("{}={}", std::string_view{key}, exact(member)));
  }
  return fmt::format("{}", fmt::join(members, " "));
}

/// Every member of an SDN list, in one order.
std::multiset<std::string> entries_of(const json::value& list) {
  std::multiset<std::string> out;
  for (const auto& entry : list.as_array()) out.insert(comparable(entry));
  return out;
}

/// The text without what differs between two runs.
std::string normal(std::string text) {
  text = std::regex_replace(text, std::regex{R"(UPID:[^"]*:)"}, "UPID");
  text = std::regex_replace(text, std::regex{R"(/[^' ]*/(template|images|import)/)"}, "/$1/");
  text = std::regex_replace(text, std::regex{R"(got '[0-9a-f]{64}')"}, "got");
  // tar's words there, libarchive's here.
  text = std::regex_replace(text, std::regex{"during extraction: .*"}, "during extraction");
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
      for (const auto& step : unrecorded) {
        if (step.before == name) do_unrecorded(step);
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

  void do_unrecorded(const Unrecorded& step) {
    const auto reply = node_.call(step.method, step.path, step.form);
    EXPECT_EQ(reply.status, 200) << step.before << " " << step.path << " " << reply.reason;
    if (reply.status != 200 || !reply.data().is_string()) return;
    EXPECT_EQ(node_.end_of_task(reply.text()), "OK") << step.before << " " << step.path;
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
    const bool by_firewall = target.find("/firewall") != std::string::npos;
    if (by_firewall && theirs.starts_with('{')) {
      EXPECT_EQ(exact(reply.data()), exact(json::parse(theirs, "recorded").at("data")));
    } else if (target.find("/cluster/sdn/") != std::string::npos) {
      compare_lists(reply, theirs);
    }
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
          out[std::string{key}] = normal(std::string{text.as_string()});
        }
      }
      return out;
    };
    EXPECT_EQ(messages(ours), messages(theirs));
  }

  static void compare_lists(const Reply& reply, const std::string& recorded) {
    if (!recorded.starts_with('{')) return;
    const auto theirs = json::parse(recorded, "recorded").at("data");
    if (theirs.is_array()) EXPECT_EQ(entries_of(reply.data()), entries_of(theirs));
    if (theirs.is_object()) EXPECT_EQ(comparable(reply.data()), comparable(theirs));
  }

  static void compare_connection(const Reply& reply, const json::value& response) {
    if (json::find(response, "headers") == nullptr) return;
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
    const bool is_text = data.is_string();
    if (is_text && json::parse(recorded, "").at("data") == "<lock-token>") {
      values_["<lock-token>"] = std::string{data.as_string()};
    }
    if (is_text && data.as_string().starts_with("UPID:")) {
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

  /// With what the recorded one's metadata and disks ask for.
  static std::string small_ova() {
    const std::string ovf =
        R"(<Envelope><References><File id="f" href="d.vmdk"/></References><DiskSection>)"
        R"(<Disk diskId="d" fileRef="f" capacity="16" capacityAllocationUnits="byte * 2^20"/>)"
        R"(</DiskSection><VirtualSystem id="box"><OperatingSystemSection id="101"/>)"
        R"(<VirtualHardwareSection><Item><InstanceID>3</InstanceID><ResourceType>6</ResourceType>)"
        R"(</Item><Item><AddressOnParent>0</AddressOnParent><HostResource>/disk/d</HostResource>)"
        R"(<Parent>3</Parent><ResourceType>17</ResourceType></Item></VirtualHardwareSection>)"
        R"(</VirtualSystem></Envelope>)";
    return node::testing::make_tar({{"box.ovf", ovf}, {"d.vmdk", "a simulated disk"}});
  }

  /// An upload as recorded, with a small file of ours in it.
  static std::string multipart(const std::string& note) {
    const bool is_ova = note.find("box.ova") != std::string::npos;
    const std::string file = is_ova ? small_ova() : std::string(1000, 'x');
    const std::string end = "\r\n------bnd1234567890";
    const auto at = note.find("head: ");
    auto head =
        at == std::string::npos
            ? "------bnd1234567890\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\n"
              "import" +
                  end + "\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"" +
                  (is_ova ? "box.ova" : "guest.qcow2") + "\"\r\nContent-Type: application/"
            : note.substr(at + 6);
    boost::algorithm::replace_all(
        head, "4ad5d6aa30af6c6b6987be19948524048809fca564f1ca0d342c3b5fb4ededd4", sha256_hex(file));
    return head + "octet-stream\r\n\r\n" + file + end + "--\r\n";
  }

  static node::NodeOptions slow_boot() {
    auto options = NodeUnderTest::options_for("pve1");
    options.armed_firewall = false;
    options.simulation->boot_time = std::chrono::seconds{3};
    options.simulation->agent_limits.ping = std::chrono::milliseconds{40};
    return options;
  }

  NodeUnderTest node_{slow_boot()};
  px::testing::HttpFiles web_{{{"/x.iso",
                                {.body = std::string(16U << 20, '\0'),
                                 .headers = "Content-Type: application/x-iso9660-image\r\n"}}}};
  /// What stands in the recordings' requests, and what there is for it here.
  std::map<std::string, std::string> values_{{"<password>", node_.password()},
                                             {"http://127.0.0.1:8099", web_.url("")},
                                             {"http%3A%2F%2F127.0.0.1%3A8099", web_.url("")}};
  std::map<std::string, std::string> ends_;
};

TEST(Replay, answersAsTheRealServerDid) {
  if (load("01-auth").is_null()) GTEST_SKIP() << "no recordings beside the checkout";
  Replay replay;
  for (const auto* scenario :
       {"01-auth", "02-http", "03-storage", "04-create-import-start", "08-config",
        "10-template-clone", "09-power", "11-snapshots", "12-sdn", "24-static-addresses",
        "25-addresses-exhausted-and-freed", "26-static-address-by-put",
        "27-many-networks-one-apply", "28-same-range-in-two-zones", "29-reuse-of-a-vnet",
        "30-isolation-calls", "16-ova-download-url-backup"}) {
    replay.run(scenario);
  }
  EXPECT_GT(replay.compared, 200);
}

}  // namespace
