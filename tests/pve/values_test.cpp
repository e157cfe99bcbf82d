#include "pve/access.hpp"
#include "pve/agent.hpp"
#include "pve/connection.hpp"
#include "pve/instance.hpp"
#include "pve/qemu.hpp"
#include "pve/snapshot.hpp"
#include "pve/version.hpp"
#include "support/bytes.hpp"

#include <gtest/gtest.h>

namespace px::pve {
namespace {

Errc kind_thrown_by(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.kind;
  }
  return Errc::internal;
}

Instance good_instance() {
  Instance instance;
  instance.host = "pve.example.com";
  instance.password = Secret{"x"};
  return instance;
}

TEST(Fingerprint, isTakenWithAndWithoutColons) {
  std::string hex;
  std::string colons;
  for (int i = 0; i < 32; ++i) {
    hex += "ab";
    colons += i == 0 ? "AB" : ":AB";
  }
  EXPECT_EQ(parse_fingerprint(hex), hex);
  EXPECT_EQ(parse_fingerprint(colons), hex);
  EXPECT_EQ(show_fingerprint(hex), colons);
  for (const auto& wrong :
       {std::string{}, hex.substr(2), hex + "ab", "zz" + hex.substr(2), "SHA256:" + hex}) {
    EXPECT_EQ(kind_thrown_by([&] { parse_fingerprint(wrong); }), Errc::bad_input) << wrong;
  }
}

TEST(Instance, isRefusedWhenItCantBeRight) {
  EXPECT_NO_THROW(check(good_instance()));
  const std::vector<std::pair<std::string, std::function<void(Instance&)>>> rows{
      {"no host", [](Instance& i) { i.host.clear(); }},
      {"a URL", [](Instance& i) { i.host = "https://pve.example.com"; }},
      {"a path", [](Instance& i) { i.host = "pve.example.com/api2"; }},
      {"port 0", [](Instance& i) { i.port = 0; }},
      {"port 65536", [](Instance& i) { i.port = 65536; }},
      {"no password", [](Instance& i) { i.password = {}; }},
      {"token without secret", [](Instance& i) { i.token_id = "root@pam!x"; }},
      {"secret without token", [](Instance& i) { i.token_secret = Secret{"x"}; }},
      {"bad fingerprint", [](Instance& i) { i.fingerprint = "AA:BB"; }},
      {"header of ours",
       [](Instance& i) { i.extra_headers.emplace_back("authorization", Secret{"x"}); }},
      {"header with a line break",
       [](Instance& i) { i.extra_headers.emplace_back("X-A", Secret{"a\r\nCookie: b"}); }},
      {"header name with a colon",
       [](Instance& i) { i.extra_headers.emplace_back("X-A:", Secret{"a"}); }},
  };
  for (const auto& [phrase, spoil] : rows) {
    auto instance = good_instance();
    spoil(instance);
    EXPECT_EQ(kind_thrown_by([&] { check(instance); }), Errc::bad_input) << phrase;
  }
}

TEST(Instance, neverShowsTheValueOfAnExtraHeader) {
  try {
    check_extra_header("X-Key", "swordfish\n");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string{e.what()}.find("swordfish"), std::string::npos);
  }
}

TEST(Instance, knowsItsFullUser) {
  auto instance = good_instance();
  EXPECT_EQ(full_user(instance), "root@pam");
  instance.user = "alice@pve";
  EXPECT_EQ(full_user(instance), "alice@pve");
  instance.token_id = "ci";
  EXPECT_EQ(full_token_id(instance), "alice@pve!ci");
  instance.token_id = "bob@pve!ci";
  EXPECT_EQ(full_token_id(instance), "bob@pve!ci");
  EXPECT_EQ(full_user(instance), "bob@pve");
}

TEST(HttpResponse, staysOpenByItsLastConnectionHeader) {
  struct Row {
    std::string phrase;
    int status;
    Headers headers;
    bool open;
  };
  for (const auto& row : std::vector<Row>{
           {"no header", 200, {}, true},
           {"inner close, outer keep-alive",
            200,
            {{"Connection", "close"}, {"Connection", "Keep-Alive"}},
            true},
           {"close last", 200, {{"Connection", "Keep-Alive"}, {"connection", "Close"}}, false},
           {"an error", 500, {{"Connection", "Keep-Alive"}}, false},
       }) {
    EXPECT_EQ(stays_open({row.status, "", row.headers, ""}), row.open) << row.phrase;
  }
}

TEST(AgentBase64, isDecodedPieceByPiece) {
  const std::string first(1 << 20, 'a');
  const std::string second = "bc";
  EXPECT_EQ(agent::decode_pieces(to_base64(first) + to_base64(second)), first + second);
  EXPECT_EQ(agent::decode_pieces(to_base64("x") + to_base64("y") + to_base64("abc")), "xyabc");
  EXPECT_EQ(agent::decode_pieces(""), "");
  for (const auto* wrong : {"=", "a", "ab=", "ab==c", "a===", "====", "ab==="}) {
    EXPECT_EQ(kind_thrown_by([&] { agent::decode_pieces(wrong); }), Errc::protocol) << wrong;
  }
}

TEST(Version, isParsedAndCompared) {
  EXPECT_EQ(Version::parse("9.1.11"), (Version{9, 1, 11}));
  EXPECT_EQ(Version::parse("8.4"), (Version{8, 4, 0}));
  EXPECT_EQ(Version::parse("9.0.0~11"), (Version{9, 0, 0}));
  EXPECT_LT(Version::parse("8.4.14"), Version::parse("9.0"));
  EXPECT_LT(Version::parse("9.1.9"), Version::parse("9.1.11"));
  for (const auto* wrong : {"", "x", "-1", ".1", "9.", "9.x"}) {
    EXPECT_EQ(kind_thrown_by([&] { Version::parse(wrong); }), Errc::protocol) << wrong;
  }
}

TEST(Tags, areSplitAtAnySeparator) {
  EXPECT_EQ(qemu::split_tags("a;b,c d"), (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(qemu::split_tags(";;a;"), (std::vector<std::string>{"a"}));
  EXPECT_TRUE(qemu::split_tags("").empty());
}

TEST(SnapshotName, isCheckedBeforeItIsSent) {
  for (const auto* good : {"ab", "before-1", "A_b"}) EXPECT_NO_THROW(snapshot::check_name(good));
  for (const auto* wrong : {"", "a", "1ab", "current", "pending", "a b", "ü1",
                            "a234567890123456789012345678901234567890x"}) {
    EXPECT_EQ(kind_thrown_by([&] { snapshot::check_name(wrong); }), Errc::bad_input) << wrong;
  }
}

TEST(Permissions, holdWherePropagated) {
  const access::Permissions permissions{
      {"/", {{"Sys.Audit", false}, {"VM.Audit", true}}},
      {"/storage/local", {{"Datastore.Audit", true}}},
      {"/pool/p", {{"VM.Allocate", true}}},
  };
  EXPECT_TRUE(access::holds(permissions, "/", "Sys.Audit"));
  EXPECT_FALSE(access::holds(permissions, "/nodes/pve1", "Sys.Audit"));
  EXPECT_TRUE(access::holds(permissions, "/vms/100", "VM.Audit"));
  EXPECT_TRUE(access::holds(permissions, "/storage/local", "Datastore.Audit"));
  EXPECT_FALSE(access::holds(permissions, "/storage/other", "Datastore.Audit"));
  // A nearer entry replaces what came from above.
  EXPECT_FALSE(access::holds(permissions, "/pool/p/q", "VM.Audit"));
}

}  // namespace
}  // namespace px::pve
