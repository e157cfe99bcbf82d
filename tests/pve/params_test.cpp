#include "pve/params.hpp"

#include "support/bytes.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace px::pve {
namespace {

TEST(Params, becomeAForm) {
  Params params;
  params.add("name", "a b&c")
      .add("full", true)
      .add("linked", false)
      .add("memory", 512)
      .add("newid", Vmid::parse("142"))
      .add("comment", std::string{"ü"})
      .add("none", std::optional<std::string>{})
      .add_if(false, "no", "x")
      .add_if(true, "yes", "x")
      .add_list("command", {"sh", "-c"});
  EXPECT_EQ(params.form(),
            "name=a%20b%26c&full=1&linked=0&memory=512&newid=142&comment=%C3%BC&yes=x&command=sh&"
            "command=-c");
  EXPECT_FALSE(params.has_bytes());
}

TEST(Params, becomeAJsonObjectWhereListsStayLists) {
  Params params;
  params.add("name", "a\"b").add_list("command", {"true"}).add("vm", "1").add("vm", "2");
  EXPECT_EQ(params.json(), R"({"name":"a\"b","command":["true"],"vm":["1","2"]})");
}

TEST(Params, carryEveryByteAsOneCharacter) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  Params params;
  params.add_bytes("input-data", bytes);
  EXPECT_TRUE(params.has_bytes());
  const auto body = boost::json::parse(params.json());
  EXPECT_EQ(utf8_to_latin1(body.at("input-data").as_string()), bytes);
}

TEST(Params, leaveOutAnEmptyList) {
  Params params;
  params.add_list("command", {});
  EXPECT_TRUE(params.empty());
}

}  // namespace
}  // namespace px::pve
