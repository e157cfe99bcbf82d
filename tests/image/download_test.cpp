// A file of the web comes into the cache once, whole and checked, or not at all.
#include "image/download.hpp"

#include "appliances.hpp"
#include "http_files.hpp"
#include "image/built_in.hpp"
#include "run.hpp"
#include "support/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace px::image {
namespace {

namespace fs = std::filesystem;
using namespace px::image::testing;
using namespace std::chrono_literals;
using px::testing::HttpFile;
using px::testing::HttpFiles;
using ::testing::HasSubstr;

// printf 'an image' | sha256sum
constexpr auto image_sum =
    "sha256:a5df3fde7b200c3fa2791144c7e05c5c2bced4c6ad863d3a4cf76c972c1712f9";

class Downloading : public ::testing::Test {
 public:
  Downloading() { ::setenv("XDG_CACHE_HOME", (folder_ / "cache").c_str(), 1); }

  Downloaded fetch(const std::string& url, const std::string& checksum = "") {
    Download what{.url = url};
    if (!checksum.empty()) what.checksum = parse_checksum("checksum", checksum);
    return px::testing::run(download(pool_, what));
  }
  Error refusal(const std::string& url, const std::string& checksum = "") {
    try {
      fetch(url, checksum);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << url << " was taken";
    return Error{Errc::internal, ""};
  }
  /// Locks are no files of anyone.
  static std::vector<std::string> left() {
    std::vector<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator{cache_directory()}) {
      if (entry.is_regular_file() && entry.path().filename() != "lock") {
        out.push_back(entry.path().filename());
      }
    }
    return out;
  }

  Folder folder_;
  asio::thread_pool pool_{1};
};

TEST_F(Downloading, fetchesWhatHasAChecksumOnce) {
  HttpFiles web{{{"/a/box.ova", {.body = "an image"}}}};
  const auto first = fetch(web.url("/a/box.ova"), image_sum);
  EXPECT_EQ(first.file.filename(), "box.ova");
  EXPECT_EQ(read_file(first.file), "an image");
  EXPECT_EQ(fetch(web.url("/a/box.ova"), image_sum).file, first.file);
  EXPECT_EQ(web.requests(), 1);
}

TEST_F(Downloading, fetchesAgainWhatWasChangedInTheCache) {
  HttpFiles web{{{"/box.ova", {.body = "an image"}}}};
  const auto first = fetch(web.url("/box.ova"), image_sum);
  folder_.write("cache/" + fs::relative(first.file, folder_ / "cache").string(), "an imagE");
  EXPECT_EQ(read_file(fetch(web.url("/box.ova"), image_sum).file), "an image");
}

TEST_F(Downloading, goesOnWhereATransferBroke) {
  HttpFiles web{{{"/box.ova", {.body = "an image", .cut = 5}}}};
  EXPECT_EQ(read_file(fetch(web.url("/box.ova"), image_sum).file), "an image");
  EXPECT_EQ(web.requests(), 2) << "all, then from the third byte on";
}

TEST_F(Downloading, tellsTheChecksumSeenWhenItIsAnother) {
  HttpFiles web{{{"/box.ova", {.body = "another image"}}}};
  const auto error = refusal(web.url("/box.ova"), image_sum);
  EXPECT_EQ(error.kind, Errc::bad_input);
  // printf 'another image' | sha256sum
  EXPECT_THAT(error.said,
              HasSubstr("its checksum is sha256:"
                        "210277cb6266afe7c6cc4227ff3e9efc818f55234a7d7fbf033ab602440f2437"));
  EXPECT_THAT(error.said, HasSubstr(image_sum));
  EXPECT_THAT(left(), ::testing::IsEmpty());
}

TEST_F(Downloading, withoutAChecksumAsksWhetherTheFileHasChanged) {
  const std::string time = "Thu, 01 Oct 2026 10:00:00 GMT";
  fs::path file;
  HttpFiles web{{{"/box.ova", {.body = "an image", .time = time}}}};
  const auto first = fetch(web.url("/box.ova"));
  EXPECT_EQ(first.sum.text(), image_sum);
  EXPECT_EQ(fetch(web.url("/box.ova")).sum.text(), image_sum);
  EXPECT_EQ(web.requests(), 2);
  EXPECT_THAT(left(), ::testing::ElementsAre("box.ova"));
}

TEST_F(Downloading, refusesWhatIsNoFileAndLeavesNothing) {
  struct Case {
    std::string path;
    std::string said;
  };
  HttpFiles web{{{"/login", {.body = "an image", .headers = "Content-Type: text/html\r\n"}},
                 {"/page.ova", {.body = "<!DOCTYPE html><p>Not found"}},
                 {"/secret.ova", {.body = "no", .status = "403 Forbidden"}}}};
  for (const auto& row : {Case{"/none.ova", "/none.ova: the server answers 404"},
                          Case{"/login", "/login: it leads to a web page (text/html), no image"},
                          Case{"/page.ova", "it leads to a web page (text/html), no image"},
                          Case{"/secret.ova", "/secret.ova: the server answers 403"}}) {
    for (const std::string checksum : {"", image_sum}) {
      const auto error = refusal(web.url(row.path), checksum);
      EXPECT_EQ(error.kind, Errc::bad_input) << row.path;
      EXPECT_THAT(error.said, HasSubstr(row.said));
    }
  }
  EXPECT_THAT(left(), ::testing::IsEmpty());
}

TEST_F(Downloading, saysThatThereIsNoServer) {
  std::string url;
  {
    HttpFiles gone{{}};
    url = gone.url("/box.ova");
  }
  EXPECT_EQ(refusal(url, image_sum).kind, Errc::unreachable);
}

TEST_F(Downloading, followsRedirections) {
  HttpFiles web{{{"/box.ova", {.body = "an image"}},
                 {"/latest", {.status = "302 Found", .headers = "Location: /box.ova\r\n"}}}};
  EXPECT_EQ(read_file(fetch(web.url("/latest"), image_sum).file), "an image");
}

TEST_F(Downloading, endsWhenItIsCancelled) {
  HttpFiles web{{{"/box.ova", {.body = "an image"}}}};
  const auto file = fetch(web.url("/box.ova"), image_sum).file;
  const int lock = ::open((file.parent_path() / "lock").c_str(), O_RDWR);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0) << "another process fetches it";
  auto waits = [this, &web]() -> awaitable<void> {
    Download what{.url = web.url("/box.ova"), .checksum = parse_checksum("", image_sum)};
    co_await with_deadline(download(pool_, what), Deadline::after(50ms), "wait");
  };
  EXPECT_THROW(px::testing::run(waits()), Error);
  ::close(lock);
}

TEST(Urls, areShownWithoutSecrets) {
  EXPECT_EQ(shown_url("https://me:pass@host:1/a/b.ova?token=x#y"), "https://host:1/a/b.ova");
  EXPECT_EQ(shown_url("http://host/a@b.ova"), "http://host/a@b.ova");
  EXPECT_EQ(shown_url("http://host?x=1"), "http://host");
}

TEST(Urls, giveAFileItsName) {
  EXPECT_EQ(file_name_of("https://host/a/victim 1.ova?x=/y"), "victim_1.ova");
  EXPECT_EQ(file_name_of("https://host/a/"), "image");
  EXPECT_EQ(file_name_of("https://host"), "image");
  EXPECT_EQ(file_name_of("https://host/.."), "image");
}

TEST(Checksums, areReadInAnyOfTheirForms) {
  const std::string hex(64, 'A');
  const std::string lower(64, 'a');
  EXPECT_EQ(parse_checksum("f", "sha256:" + hex).text(), "sha256:" + lower);
  EXPECT_EQ(parse_checksum("f", hex).text(), "sha256:" + lower);
  EXPECT_EQ(parse_checksum("f", "SHA512:" + hex + hex).text(), "sha512:" + lower + lower);
  for (const auto& bad : {std::string{}, std::string{"sha256:12"}, "sha512:" + hex, "md5:" + hex,
                          "sha256:" + std::string(64, 'g')}) {
    EXPECT_THROW(parse_checksum("f", bad), Error) << bad;
  }
}

}  // namespace
}  // namespace px::image
