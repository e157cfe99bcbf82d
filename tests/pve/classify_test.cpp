#include "pve/classify.hpp"

#include "exchanges.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

namespace px::pve {
namespace {

struct Row {
  int status;
  std::string message;
  Errc kind;
  Sent sent = Sent::answered;
};

TEST(Classify, knowsAMessageByItsText) {
  const std::vector<Row> rows{
      {500, "Configuration file 'nodes/pve1/qemu-server/104.conf' does not exist", Errc::not_found},
      {500, "unable to find configuration file for VM 999 on node 'pve1'", Errc::not_found},
      {500, "storage 'nope' does not exist", Errc::not_found},
      {500, "no such cluster node 'othernode'", Errc::not_found},
      {500, "hostname lookup 'x' failed - failed to get address info for: x", Errc::not_found},
      {500, "unable to create VM 150: config file already exists", Errc::already_exists},
      {500, "unable to create VM 100 - VM 100 already exists on node 'pve1'", Errc::already_exists},
      {500, "create storage failed: storage ID 'local' already defined", Errc::already_exists},
      {500,
       "close (rename) atomic file '/etc/pve/nodes/a/qemu-server/100.conf' failed: File exists",
       Errc::already_exists},
      {500, "IP '10.61.0.1' already exist", Errc::already_exists},
      {500, "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout", Errc::busy},
      {500, "unable to create VM 100 - can't lock file '/var/lock/x' - got timeout", Errc::busy},
      {500, "cfs-lock 'file-user_cfg' error: got lock request timeout", Errc::busy},
      {500, "VM is locked (create)", Errc::busy},
      {500, "QEMU guest agent is not running", Errc::agent_down},
      {500, "VM 100 qga command 'guest-exec' failed - got timeout", Errc::agent_down, Sent::maybe},
      {500, "No QEMU guest agent configured", Errc::unsupported},
      {500, "VM 100 is not running", Errc::unavailable},
      {500, "VM 101 not running", Errc::unavailable},
      {500, "Agent error: Invalid parameter 'pid'", Errc::not_found},
      {500, "Agent error: failed to open file '/x' (mode: 'r'): No such file or directory",
       Errc::file_not_found},
      {500, "Agent error: failed to read file: Is a directory", Errc::is_directory},
      {500, "Agent error: failed to open file '/x' (mode: 'r'): Permission denied",
       Errc::file_permission},
      {500, "Linked clone feature is not supported for 'local:100/a.qcow2' (scsi0)",
       Errc::unsupported},
      {500, "storage 'local-lvm' does not support 'iso' content", Errc::unsupported},
      {500, "only root can set 'args' config", Errc::forbidden},
      {500, "Only root can pass arbitrary filesystem paths.", Errc::forbidden},
      {500, "VM quit/powerdown failed - got timeout", Errc::server},
      {500, "something never heard of", Errc::server},
      {400, "bad request", Errc::rejected},
      {401, "authentication failure", Errc::auth},
      {403, "Permission check failed (/vms/100, VM.Audit)", Errc::forbidden},
      {403, "Permission check failed (pool 'nope' does not exist)", Errc::not_found},
      {404, "Not Found", Errc::not_found},
      {501, "Method 'GET /nope' not implemented", Errc::unsupported},
      {501, "for data too large", Errc::rejected},
      {502, "Bad Gateway", Errc::proxy, Sent::maybe},
      {595, "Connection refused", Errc::proxy, Sent::maybe},
      {596, "Connection timed out", Errc::proxy, Sent::maybe},
      {597, "Broken pipe", Errc::proxy, Sent::maybe},
      {599, "Too many redirections", Errc::proxy, Sent::maybe},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(fmt::format("{} {}", row.status, row.message));
    const auto error = classify(row.status, row.message, "", "POST", "/nodes/pve1/qemu");
    EXPECT_EQ(name_of(error.kind), name_of(row.kind));
    EXPECT_EQ(error.sent, row.sent);
    EXPECT_EQ(error.status, row.status);
    EXPECT_EQ(error.said, row.message);
    EXPECT_EQ(error.method, "POST");
    EXPECT_EQ(error.path, "/nodes/pve1/qemu");
  }
}

TEST(Classify, readsTheMessagesOfParameters) {
  struct ParameterRow {
    std::string errors;
    Errc kind;
  };
  const std::vector<ParameterRow> rows{
      {R"({"memory":"type check ('integer') failed"})", Errc::rejected},
      {R"({"vmid":"VM 100 already exists"})", Errc::already_exists},
      {R"({"tokenid":"Token already exists."})", Errc::already_exists},
      {R"({"upid":"no such task"})", Errc::not_found},
      {R"({"storage":"No such storage."})", Errc::not_found},
      {R"({"skiplock":"Only root may use this option."})", Errc::forbidden},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.errors);
    const auto error = classify(400, "Parameter verification failed.",
                                R"({"data":null,"message":"Parameter verification failed.\n",)"
                                R"("errors":)" +
                                    row.errors + "}",
                                "POST", "/x");
    EXPECT_EQ(name_of(error.kind), name_of(row.kind));
    EXPECT_EQ(error.parameters.size(), 1u);
    EXPECT_EQ(error.said, "Parameter verification failed.");
  }
}

TEST(Classify, prefersTheWholeMessageToTheReasonAndKeepsItOnOneLine) {
  const auto error =
      classify(500, "create sdn vnet object failed: 400 Parameter verification failed.",
               R"({"data":null,"message":"create sdn vnet object failed: 400 Parameter )"
               R"(verification failed.\nvnet: value may only be 8 characters long\n"})",
               "POST", "/cluster/sdn/vnets");
  EXPECT_EQ(name_of(error.kind), name_of(Errc::rejected));
  EXPECT_EQ(error.said,
            "create sdn vnet object failed: 400 Parameter verification failed.; vnet: value may "
            "only be 8 characters long");
}

TEST(Classify, leavesOutTheServersSourceLines) {
  const auto error =
      classify(500, "cannot lookup undefined type! at /usr/share/perl5/PVE/API2/X.pm line 326.", "",
               "POST", "/x");
  EXPECT_EQ(error.said, "cannot lookup undefined type!");
}

TEST(Classify, saysWhatToDo) {
  EXPECT_EQ(classify(403, "Permission check failed (/nodes/pve1, Sys.Audit)", "", "GET", "/x").hint,
            "Give the user (and the API token, if one is used) Sys.Audit on /nodes/pve1");
  EXPECT_NE(classify(500, "No QEMU guest agent configured", "", "POST", "/x").hint.find("agent"),
            std::string::npos);
  const auto error = classify(
      400, "Parameter verification failed.",
      R"({"errors":{"decode":"property is not defined in schema and so on"}})", "GET", "/x");
  EXPECT_NE(error.hint.find("too old to know `decode`"), std::string::npos);
}

TEST(Classify, copesWithBodiesThatAreNotTheServersJson) {
  for (const auto* body : {"", "null", "[]", "<html>502</html>", R"({"errors":7,"message":[]})",
                           R"({"errors":{"a":{"b":1}}})"}) {
    const auto error = classify(500, "", body, "GET", "/x");
    EXPECT_EQ(error.kind, Errc::server) << body;
    EXPECT_FALSE(error.said.empty());
  }
}

TEST(Classify, makesSomethingSensibleOfEveryRecordedError) {
  const auto exchanges = testing::load_exchanges();
  if (exchanges.empty()) GTEST_SKIP() << "no recordings beside the checkout";
  // Failures that fit no other kind, looked at one by one.
  const std::set<std::string> plain_server_errors{
      "Agent error: Base64 data contains invalid characters",
      "Agent error: failed to close handle: Input/output error",
      "checksum mismatch (file change by other user?)",
      "invalid format",
      "you can't convert a template to a template",
      "unable to use snapshot name 'current' (reserved name)",
      "Not a HASH reference",
  };
  int errors = 0;
  std::map<std::string, int> unexplained;
  for (const auto& exchange : exchanges) {
    if (exchange.status < 400) continue;
    ++errors;
    const auto error =
        classify(exchange.status, exchange.reason, exchange.body, exchange.method, exchange.path);
    const auto where =
        fmt::format("{}: {} {}: {} {} -> {}", exchange.scenario, exchange.method, exchange.path,
                    exchange.status, exchange.reason, name_of(error.kind));
    EXPECT_NE(error.kind, Errc::internal) << where;
    EXPECT_FALSE(error.said.empty()) << where;
    EXPECT_EQ(error.said.find('\n'), std::string::npos) << where;
    EXPECT_EQ(error.said.find("/usr/share/perl5"), std::string::npos) << where;
    EXPECT_EQ(error.kind == Errc::auth, exchange.status == 401) << where;
    EXPECT_EQ(error.kind == Errc::proxy, exchange.status >= 595) << where;
    if (exchange.status == 400) {
      EXPECT_FALSE(error.parameters.empty() && !exchange.body.empty()) << where;
    }
    if (error.kind == Errc::server && !plain_server_errors.contains(error.said)) {
      ++unexplained[error.said];
    }
  }
  EXPECT_GT(errors, 100);
  for (const auto& [said, count] : unexplained) {
    // Networks, consoles, downloads and archives, which this client does not call.
    std::cout << "  as `server`: " << said << " (" << count << ")\n";
  }
}

}  // namespace
}  // namespace px::pve
