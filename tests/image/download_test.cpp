// What this machine fetches from the net.
#include "image/download.hpp"

#include "http_files.hpp"
#include "node_under_test.hpp"
#include "run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace px::image {
namespace {

namespace fs = std::filesystem;
using px::testing::HttpFile;
using px::testing::HttpFiles;
using ::testing::HasSubstr;

const std::string disk(2048, 'd');

BuiltIn built_in_at(const std::string& url, const std::string& sum) {
  return {.name = "test1",
          .file = "test1.img",
          .how = "image add NAME",
          .user = "user",
          .url = url,
          .sum = sum};
}

class Fetching : public ::testing::Test {
 public:
  Fetching() {
    ::setenv("XDG_CACHE_HOME", cache_.path().c_str(), 1);
    ::unsetenv("PROXMOX_SANDBOX_IMAGES");
  }
  fs::path fetched(const BuiltIn& built_in) { return px::testing::run(download(pool_, built_in)); }
  Error refusal_of(const BuiltIn& built_in) {
    try {
      fetched(built_in);
    } catch (const Error& error) {
      return error;
    }
    return Error{Errc::internal, "accepted"};
  }
  fs::path folder() const { return cache_.path() / "proxmox-sandbox/images"; }
  static std::string content_of(const fs::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
  }

  px::testing::TemporaryDirectory cache_;
  asio::thread_pool pool_{1};
};

TEST_F(Fetching, keepsTheFileWhenItsSumIsRight) {
  const HttpFiles web{{{"/a.img", {.body = disk}}}};
  const auto url = web.url("/a.img");
  const auto sum = sha256_hex(disk);
  const auto built_in = built_in_at(url, sum);
  EXPECT_EQ(fetched(built_in), folder() / "test1.img");
  EXPECT_EQ(content_of(folder() / "test1.img"), disk);
  EXPECT_EQ(file_of(built_in), folder() / "test1.img");
}

TEST_F(Fetching, fetchesNothingTwice) {
  const auto sum = sha256_hex(disk);
  std::string url;
  {
    const HttpFiles web{{{"/a.img", {.body = disk}}}};
    url = web.url("/a.img");
    fetched(built_in_at(url, sum));
  }
  EXPECT_EQ(fetched(built_in_at(url, sum)), folder() / "test1.img");
}

TEST_F(Fetching, keepsNothingOfAnotherSum) {
  const HttpFiles web{{{"/a.img", {.body = disk}}}};
  const auto url = web.url("/a.img");
  const auto sum = sha256_hex("something else");
  const auto error = refusal_of(built_in_at(url, sum));
  EXPECT_EQ(error.kind, Errc::bad_input);
  EXPECT_THAT(error.said, HasSubstr("has the sum " + sha256_hex(disk) + ", not " + sum));
  EXPECT_FALSE(fs::exists(folder() / "test1.img"));
  EXPECT_FALSE(fs::exists(folder() / "test1.img.part"));
}

TEST_F(Fetching, saysWhatTheServerSaid) {
  const HttpFiles web{{}};
  const auto url = web.url("/none.img");
  const auto error = refusal_of(built_in_at(url, sha256_hex(disk)));
  EXPECT_EQ(error.kind, Errc::unreachable);
  EXPECT_THAT(error.said, HasSubstr("/none.img"));
  EXPECT_THAT(error.said, HasSubstr("404"));
}

}  // namespace
}  // namespace px::image
