#include "node/request.hpp"

#include "node_under_test.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace {

using namespace px;
using namespace px::node;

struct FormRow {
  std::string_view name;
  std::string_view text;
  Values wanted;
};

TEST(Form, isReadAsTheServerReadsIt) {
  const std::vector<FormRow> rows{
      {"nothing", "", {}},
      {"one pair", "a=1", {{"a", {"1"}}}},
      {"a repeated key is a list", "a=1&a=2", {{"a", {"1", "2"}}}},
      {"semicolons separate too", "a=1;b=2", {{"a", {"1"}}, {"b", {"2"}}}},
      {"plus is a blank, escapes are bytes", "a=x+y%2B%C3%BC", {{"a", {"x y+\xC3\xBC"}}}},
      {"a key without a value", "a&b=", {{"a", {""}}, {"b", {""}}}},
      {"empty pairs are nothing", "&&a=1&", {{"a", {"1"}}}},
      {"only the first = separates", "a=b=c", {{"a", {"b=c"}}}},
  };
  for (const auto& row : rows) {
    Values out;
    parse_form(row.text, out);
    EXPECT_EQ(out, row.wanted) << row.name;
  }
}

TEST(Form, refusesABrokenEscape) {
  for (const auto* text : {"a=%", "a=%1", "a=%zz", "%=1"}) {
    Values out;
    EXPECT_THROW(parse_form(text, out), ApiError) << text;
  }
}

TEST(JsonBody, isReadAsTheServerReadsIt) {
  const std::vector<FormRow> rows{
      {"texts and numbers", R"({"a":"x","b":5})", {{"a", {"x"}}, {"b", {"5"}}}},
      {"booleans", R"({"a":true,"b":false})", {{"a", {"1"}}, {"b", {"0"}}}},
      {"null is as if not given", R"({"a":null})", {}},
      {"a list", R"({"a":["x","y"]})", {{"a", {"x", "y"}}}},
      {"an empty list", R"({"a":[]})", {{"a", {}}}},
  };
  for (const auto& row : rows) {
    Values out;
    parse_json(row.text, out);
    EXPECT_EQ(out, row.wanted) << row.name;
  }
}

TEST(JsonBody, tellsBrokenTextFromWrongValues) {
  const std::vector<std::pair<std::string, int>> rows{
      {R"({"a")", 500}, {R"(["a"])", 500}, {R"("a")", 500}, {"", 500}, {R"({"a":{"b":1}})", 400}};
  for (const auto& [text, status] : rows) {
    Values out;
    try {
      parse_json(text, out);
      ADD_FAILURE() << text;
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status, status) << text;
    }
  }
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

constexpr std::string_view type = "multipart/form-data; boundary=XX";

std::string part(std::string_view head, std::string_view body) {
  return fmt::format("--XX\r\nContent-Disposition: form-data; {}\r\n\r\n{}\r\n", head, body);
}

TEST(Multipart, findsFieldsAndFileWhereverThePiecesAreCut) {
  // Bytes that look like the beginning of a delimiter belong to the file.
  const std::string content{"\r\n--X\r\n--XY\0--XX\r\r\n", 20};
  const auto body = part(R"(name="content")", "iso") +
                    part(R"(name="filename"; filename="a b.iso")", content) +
                    part(R"(name="late")", "not seen") + "--XX--\r\n";
  const px::testing::TemporaryDirectory directory;
  for (std::size_t cut = 1; cut <= body.size(); ++cut) {
    MultipartParser parser{type, directory.path() / "spool"};
    for (std::size_t at = 0; at < body.size(); at += cut) {
      parser.feed(std::string_view{body}.substr(at, cut));
    }
    const auto file = parser.finish();
    EXPECT_EQ(file.name, "a b.iso");
    EXPECT_EQ(file.size, content.size());
    EXPECT_EQ(read_file(file.path), content) << "pieces of " << cut;
    EXPECT_EQ(parser.fields(), (Values{{"content", {"iso"}}}));
  }
}

TEST(Multipart, refusesWhatIsNoUploadAndLeavesNoFile) {
  const px::testing::TemporaryDirectory directory;
  const auto spool = directory.path() / "spool";
  const std::vector<std::pair<std::string, std::string>> rows{
      {"nothing", ""},
      {"another boundary", "--YY\r\n\r\n"},
      {"no file", part(R"(name="content")", "iso") + "--XX--\r\n"},
      {"a file under another name", part(R"(name="file"; filename="a")", "x") + "--XX--\r\n"},
      {"a part without a name", part("x", "y") + "--XX--\r\n"},
      {"cut off in the file", part(R"(name="filename"; filename="a")", "x")},
      {"a field of a megabyte", part(R"(name="content")", std::string(1 << 20, 'x'))},
      {"endless headers", "--XX\r\n" + std::string(1 << 20, 'x')},
      {"no delimiter at all", std::string(1 << 20, 'x')},
  };
  for (const auto& [name, body] : rows) {
    const auto take = [&, &text = body] {
      MultipartParser parser{type, spool};
      parser.feed(text.substr(0, text.size() - std::min<std::size_t>(text.size(), 4)));
      parser.finish();
    };
    EXPECT_THROW(take(), ApiError) << name;
    EXPECT_FALSE(std::filesystem::exists(spool)) << name;
  }
  EXPECT_THROW(MultipartParser("multipart/form-data", spool), ApiError);
}

struct ParameterRow {
  std::string_view name;
  Values given;
  std::map<std::string, std::string> errors;
};

TEST(Parameters, areCheckedWithTheServersWords) {
  const Route route{
      .method = "POST",
      .path = "/x/{vmid}",
      .params = {{.name = "must", .required = true, .max_length = 4},
                 {.name = "count", .type = ParamType::integer, .minimum = 1, .maximum = 9},
                 {.name = "flag", .type = ParamType::boolean},
                 {.name = "kind", .one_of = {"a", "b"}},
                 {.name = "net[n]"},
                 {.name = "words", .type = ParamType::array},
                 {.name = "sum", .needs = "algorithm"},
                 {.name = "algorithm"},
                 {.name = "pool", .format = "pve-poolid"}},
      .handler = {}};
  const std::vector<ParameterRow> rows{
      {"fine", {{"must", {"x"}}, {"net7", {"y"}}, {"words", {"a", "b"}}, {"flag", {"off"}}}, {}},
      {"missing", {}, {{"must", "property is missing and it is not optional"}}},
      {"too long, counted in characters",
       {{"must", {"\xC3\xBC\xC3\xBC\xC3\xBC\xC3\xBC\xC3\xBC"}}},
       {{"must", "value may only be 4 characters long"}}},
      {"unknown",
       {{"must", {"x"}}, {"net", {"y"}}},
       {{"net",
         "property is not defined in schema and the schema does not allow additional properties"}}},
      {"no number",
       {{"must", {"x"}}, {"count", {"1x"}}},
       {{"count", "type check ('integer') failed - got '1x'"}}},
      {"too small",
       {{"must", {"x"}}, {"count", {"0"}}},
       {{"count", "value must have a minimum value of 1"}}},
      {"too large",
       {{"must", {"x"}}, {"count", {"10"}}},
       {{"count", "value must have a maximum value of 9"}}},
      {"no boolean",
       {{"must", {"x"}}, {"flag", {"maybe"}}},
       {{"flag", "type check ('boolean') failed - got 'maybe'"}}},
      {"no choice",
       {{"must", {"x"}}, {"kind", {"c"}}},
       {{"kind", "value 'c' does not have a value in the enumeration 'a, b'"}}},
      {"twice", {{"must", {"x", "y"}}}, {{"must", "type check ('string') failed - got ARRAY"}}},
      {"one without the other",
       {{"must", {"x"}}, {"sum", {"1"}}},
       {{"algorithm", "missing property required by 'sum'"}}},
      {"another value than in the path",
       {{"must", {"x"}}, {"vmid", {"101"}}},
       {{"vmid", "duplicate parameter (already defined in URI) with conflicting values!"}}},
      {"a format",
       {{"must", {"x"}}, {"pool", {"bad name!"}}},
       {{"pool", "invalid format - pool name 'bad name!' contains invalid characters\n"}}},
  };
  for (const auto& row : rows) {
    Call call;
    std::map<std::string, std::string> errors;
    try {
      check_parameters(route, {{"vmid", "100"}}, row.given, call);
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status, 400);
      errors = error.errors;
    }
    EXPECT_EQ(errors, row.errors) << row.name;
  }
}

TEST(Router, findsTheRouteAndReadsThePath) {
  Router router;
  for (const auto* path : {"/nodes/{node}/qemu/{vmid}/config", "/nodes/{node}/qemu",
                           "/nodes/{node}/storage/{storage}/content/{volume}"}) {
    router.add({.method = "GET", .path = path, .params = {}, .handler = {}});
  }
  std::map<std::string, std::string> values;
  const auto find = [&](std::string_view method, std::string_view path) {
    const auto* route = router.find(method, path, values);
    return route == nullptr ? "" : route->path;
  };
  EXPECT_EQ(find("GET", "/nodes/n/qemu/100/config"), "/nodes/{node}/qemu/{vmid}/config");
  EXPECT_EQ(values, (std::map<std::string, std::string>{{"node", "n"}, {"vmid", "100"}}));
  EXPECT_EQ(find("GET", "//nodes/n/qemu/"), "/nodes/{node}/qemu");
  EXPECT_EQ(find("POST", "/nodes/n/qemu"), "");
  EXPECT_EQ(find("GET", "/nodes/n/qemu/100"), "");
  EXPECT_EQ(find("GET", "/nodes/%zz/qemu"), "");
  EXPECT_NE(find("GET", "/nodes/n/storage/s/content/local%3Aiso%2Fa.iso"), "");
  EXPECT_EQ(values.at("volume"), "local:iso/a.iso");
  EXPECT_NE(find("GET", "/nodes/n/storage/s/content/local:iso/a.iso"), "");
  EXPECT_EQ(values.at("volume"), "local:iso/a.iso");
  EXPECT_EQ(find("GET", "/nodes/n/storage/s/content"), "");
}

}  // namespace
