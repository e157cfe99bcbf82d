// download-url and query-url-metadata, with wget against a small web server.
#include "http_files.hpp"
#include "tar_files.hpp"
#include "vm_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using namespace px;
using namespace px::node;
using namespace px::node::testing;
using px::testing::HttpFile;
using px::testing::HttpFiles;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

const std::string download_route = "/nodes/pve1/storage/local/download-url";
/// Of "four": sha256sum.
const std::string sum_of_four = "04efaf080f5a3e74e1c29d1ca6a48569382cbbcd324e8d59d2b83ef21c039f00";

/// The end of the task that downloads `url` as an ISO file `name`.
awaitable<std::string> download(VmApi& api, std::string name, std::string url, Params more = {}) {
  Params params{{"content", "iso"}, {"filename", std::move(name)}, {"url", std::move(url)}};
  params.insert(params.end(), more.begin(), more.end());
  co_return co_await api.end_of(co_await api.send("POST", download_route, std::move(params)));
}

std::string content_of(const fs::path& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

/// No file that is half there.
void expect_clean(VmApi& api) {
  EXPECT_TRUE(fs::is_empty(api.spool_folder()));
}

TEST(DownloadUrl, fetchesAFileAndSaysSo) {
  const HttpFiles web{{{"/x.iso", {.body = "four"}}}};
  with_node([&web](VmApi& api) -> awaitable<void> {
    const auto upid = co_await api.send(
        "POST", download_route,
        {{"content", "iso"}, {"filename", "we ird.iso"}, {"url", web.url("/x.iso")}});
    EXPECT_THAT(std::string{upid.as_string()}, HasSubstr(":download:we_ird.iso:"));
    EXPECT_EQ(co_await api.end_of(upid), "OK");
    EXPECT_EQ(content_of(api.path("local:iso/we_ird.iso")), "four");
    const auto log = boost::json::serialize(co_await api.send(
        "GET", "/nodes/pve1/tasks/" + std::string{upid.as_string()} + "/log", {{"limit", "0"}}));
    EXPECT_THAT(log, HasSubstr("HTTP request sent, awaiting response... 200 OK"));
    EXPECT_THAT(log, HasSubstr("finished"));
    expect_clean(api);
  });
}

TEST(DownloadUrl, checksThePromisedSum) {
  const HttpFiles web{{{"/x.iso", {.body = "four"}}}};
  with_node([&web](VmApi& api) -> awaitable<void> {
    const auto with_sum = [&](std::string sum) -> Params {
      return {{"checksum-algorithm", "sha256"}, {"checksum", std::move(sum)}};
    };
    const std::string zeros(64, '0');
    EXPECT_EQ(co_await download(api, "a.iso", web.url("/x.iso"), with_sum(sum_of_four)), "OK");
    EXPECT_EQ(co_await download(api, "b.iso", web.url("/x.iso"), with_sum(zeros)),
              fmt::format("checksum mismatch: got '{}' != expect '{}'", sum_of_four, zeros));
    EXPECT_FALSE(fs::exists(api.path("local:iso/b.iso")));
    expect_clean(api);
  });
}

TEST(DownloadUrl, leavesNothingOfAFailure) {
  const HttpFiles web{{{"/cut.iso", {.body = "four", .missing = 100}}}};
  with_node([&web](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await download(api, "a.iso", web.url("/nope.iso")),
              "download failed: exit code 8");
    EXPECT_EQ(co_await download(api, "a.iso", "http://127.0.0.1:9/x.iso"),
              "download failed: Connecting to 127.0.0.1:9... failed: Connection refused.");
    EXPECT_FALSE(fs::exists(api.path("local:iso/a.iso")));
    expect_clean(api);
  });
}

TEST(DownloadUrl, canBeStopped) {
  // wget tries a file that ends early again and again.
  const HttpFiles web{{{"/cut.iso", {.body = "four", .missing = 100}}}};
  with_node([&web](VmApi& api) -> awaitable<void> {
    const auto upid = co_await api.send(
        "POST", download_route,
        {{"content", "iso"}, {"filename", "a.iso"}, {"url", web.url("/cut.iso")}});
    co_await sleep_for(std::chrono::milliseconds{100});
    co_await api.send("DELETE", "/nodes/pve1/tasks/" + std::string{upid.as_string()});
    EXPECT_EQ(co_await api.end_of(upid), "interrupted by signal");
    EXPECT_FALSE(fs::exists(api.path("local:iso/a.iso")));
    expect_clean(api);
  });
}

TEST(DownloadUrl, keepsAFileThatIsThere) {
  with_node([](VmApi& api) -> awaitable<void> {
    api.put_file("local:iso/a.iso", "mine");
    EXPECT_EQ(co_await download(api, "a.iso", "http://127.0.0.1:9/x.iso"),
              fmt::format("refusing to override existing file '{}'",
                          api.path("local:iso/a.iso").string()));
    EXPECT_EQ(content_of(api.path("local:iso/a.iso")), "mine");
  });
}

TEST(DownloadUrl, decompressesIsoFilesOnly) {
  // printf four | gzip -n
  const std::string gzip{
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\xcb\x2f\x2d\x02\x00\x7d\x66\xc1\x90\x04\x00\x00"
      "\x00",
      24};
  const HttpFiles web{{{"/x.iso.gz", {.body = gzip}}}};
  with_node([&web](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await download(api, "a.iso", web.url("/x.iso.gz"), {{"compression", "gz"}}), "OK");
    EXPECT_EQ(content_of(api.path("local:iso/a.iso")), "four");
    const auto upid = co_await api.send("POST", download_route,
                                        {{"content", "import"},
                                         {"filename", "a.raw"},
                                         {"compression", "gz"},
                                         {"url", web.url("/x.iso.gz")}});
    EXPECT_EQ(co_await api.end_of(upid), "decompression not supported for import");
    expect_clean(api);
  });
}

TEST(DownloadUrl, takesNoPageForAnOva) {
  const HttpFiles web{{{"/page", {.body = "<html>log in first</html>"}},
                       {"/box.ova", {.body = make_tar({{"box.ovf", "<Envelope/>"}})}},
                       {"/no.ova", {.body = make_tar({{"a.txt", "x"}})}}}};
  with_node([&web](VmApi& api) -> awaitable<void> {
    const auto ova = [&](std::string path) -> awaitable<std::string> {
      co_return co_await api.end_of(co_await api.send(
          "POST", download_route,
          {{"content", "import"}, {"filename", "b.ova"}, {"url", web.url(path)}}));
    };
    EXPECT_NE(co_await ova("/page"), "OK");
    EXPECT_EQ(co_await ova("/no.ova"), "ova archive has no .ovf file inside");
    EXPECT_FALSE(fs::exists(api.path("local:import/b.ova")));
    EXPECT_EQ(co_await ova("/box.ova"), "OK");
    expect_clean(api);
  });
}

TEST(DownloadUrl, refusesWhatItsStorageCannotHold) {
  with_node([](VmApi& api) -> awaitable<void> {
    const auto refused = [&](std::string storage, std::string filename, std::string url) {
      return api.refused("POST", fmt::format("/nodes/pve1/storage/{}/download-url", storage),
                         {{"content", "iso"}, {"filename", filename}, {"url", url}});
    };
    EXPECT_EQ(co_await refused("local-lvm", "a.iso", "http://127.0.0.1:9/x"),
              "500 storage 'local-lvm' is not configured for content-type 'iso'");
    EXPECT_EQ(co_await refused("local", "a.txt", "http://127.0.0.1:9/x"),
              "400 Parameter verification failed.|filename: wrong file extension");
    EXPECT_EQ(co_await refused("local", "a.iso", "ftp://127.0.0.1/x"),
              "400 Parameter verification failed.|url: value does not match the regex pattern");
    EXPECT_EQ(co_await refused("local", "a.iso", "http://" + std::string(400'000, 'a')),
              "400 Parameter verification failed.|url: value does not match the regex pattern");
  });
}

TEST(QueryUrlMetadata, saysWhatAUrlLeadsTo) {
  const std::string disposition = "Content-Disposition: attachment; filename=\"box.iso\"\r\n";
  const HttpFiles web{{{"/x.iso", {.body = "four", .headers = "Content-Type: text/plain; a=b\r\n"}},
                       {"/get?id=1", {.body = "four", .headers = disposition}},
                       {"/moved", {.status = "302 Found", .headers = "Location: /x.iso\r\n"}}}};
  with_node([&web](VmApi& api) -> awaitable<void> {
    const auto query = [&](std::string url) {
      return api.send("GET", "/nodes/pve1/query-url-metadata", {{"url", url}});
    };
    EXPECT_EQ(co_await query(web.url("/x.iso")),
              (json::object{{"filename", "x.iso"}, {"size", 4}, {"mimetype", "text/plain"}}));
    EXPECT_EQ(co_await query(web.url("/get?id=1")),
              (json::object{{"filename", "box.iso"}, {"size", 4}}));
    EXPECT_EQ(json::text_at(co_await query(web.url("/moved")), "mimetype"), "text/plain");
    const auto refused = [&](std::string url) {
      return api.refused("GET", "/nodes/pve1/query-url-metadata", {{"url", url}});
    };
    EXPECT_EQ(co_await refused(web.url("/nope")),
              "500 invalid server response: '404 File not found'");
    EXPECT_EQ(co_await refused("http://127.0.0.1:9/x.iso"),
              "500 invalid server response: '500 Can't connect to 127.0.0.1:9 (Connection "
              "refused)'");
  });
}

}  // namespace
