// A built-in whose file is on the net, on its way to a template: by the server, by this machine, or
// by nobody; and one whose first start goes wrong.
#include "http_files.hpp"
#include "image/bake.hpp"
#include "image/built_in.hpp"
#include "support/process.hpp"
#include "vm_on_node.hpp"

#include <fstream>

namespace px::sandbox {
namespace {

using px::testing::HttpFiles;
using ::testing::HasSubstr;

const std::string disk(2048, 'd');

class FetchedOnNode : public VmOnNode {
 public:
  FetchedOnNode() { ::setenv("XDG_CACHE_HOME", cache_.path().c_str(), 1); }

  image::BuiltIn built_in_at(const std::string& url, const std::string& sum) {
    return {.name = "test1",
            .file = "test1.img",
            .how = "Download URL; image add NAME",
            .user = "user",
            .url = url,
            .sum = sum};
  }
  /// How a bake ends: "made", or what is wrong.
  std::string bake_of(const image::BuiltIn& built_in) {
    image::Recipe recipe;
    recipe.title = built_in.name;
    recipe.name = "inspect-test1";
    recipe.content_tag = "inspect-src-0123456789abcdef";
    recipe.source_tag = "builtin-test1";
    recipe.os_type = "l26";
    image::take_from_web(built_in, "scsi0", recipe);
    recipe.built_in = &built_in;
    auto work = [](FetchedOnNode& test, image::Recipe what) -> awaitable<void> {
      pve::Client client{co_await asio::this_coro::executor, test.pool_,
                         read_instances(test.environment()).front()};
      image::Kitchen kitchen{.node = pve::NodeName::parse("proxmox"),
                             .storage = "local",
                             .run = "0a0b0c0d",
                             .note = "a test\n"};
      co_await image::bake(client, std::move(kitchen), std::move(what));
    };
    try {
      px::testing::run(work(*this, std::move(recipe)));
    } catch (const Error& error) {
      return error.what();
    }
    return "made";
  }
  std::size_t vms() { return node_.call("GET", "/nodes/proxmox/qemu").data().as_array().size(); }
  std::size_t files(const std::string& content) {
    return node_.call("GET", "/nodes/proxmox/storage/local/content", "content=" + content)
        .data()
        .as_array()
        .size();
  }
  std::int64_t requests(const std::string& route) {
    const auto counted = node_.send("GET", "/_control/requests", {}).data();
    return json::number_or(counted.at("requests"), route, 0);
  }
  void expect_nothing_left() {
    EXPECT_EQ(vms(), 0U);
    EXPECT_EQ(files("import"), 0U);
    EXPECT_EQ(files("iso"), 0U);
  }

  px::testing::TemporaryDirectory cache_;
};

const std::string upload_of_image = "POST /nodes/{node}/storage/{storage}/upload";
const std::string download_of_image = "POST /nodes/{node}/storage/{storage}/download-url";

TEST_F(FetchedOnNode, comesToTheServerByItself) {
  const HttpFiles web{{{"/a.img", {.body = disk}}}};
  const auto url = web.url("/a.img");
  const auto sum = sha256_hex(disk);
  EXPECT_EQ(bake_of(built_in_at(url, sum)), "made");
  EXPECT_EQ(requests(download_of_image), 1);
  EXPECT_EQ(requests(upload_of_image), 0);
  EXPECT_EQ(vms(), 1U);
  EXPECT_EQ(files("import"), 0U) << "what it was imported from is gone";
}

TEST_F(FetchedOnNode, comesThroughThisMachineWhenItIsPacked) {
  std::ofstream{cache_.path() / "disk.raw", std::ios::binary} << disk;
  const auto packed = (cache_.path() / "a.tar.xz").string();
  run_tool({"tar", "-C", cache_.path().string(), "-cJf", packed, "disk.raw"});
  std::ifstream file{packed, std::ios::binary};
  const std::string bytes{std::istreambuf_iterator<char>{file}, {}};
  const HttpFiles web{{{"/a.tar.xz", {.body = bytes}}}};
  const auto url = web.url("/a.tar.xz");
  const auto sum = sha256_hex(bytes);
  auto built_in = built_in_at(url, sum);
  built_in.is_plain = false;
  EXPECT_EQ(bake_of(built_in), "made");
  EXPECT_EQ(requests(download_of_image), 0);
  EXPECT_EQ(requests(upload_of_image), 1);
}

TEST_F(FetchedOnNode, isAskedForWhenNobodyReachesIt) {
  const std::string url = "http://127.0.0.1:9/a.img";
  const auto sum = sha256_hex(disk);
  const auto end = bake_of(built_in_at(url, sum));
  EXPECT_THAT(end, HasSubstr("node proxmox can't download it: "));
  EXPECT_THAT(end, HasSubstr("; nor can this machine: "));
  EXPECT_THAT(end, HasSubstr("Download http://127.0.0.1:9/a.img; image add test1"));
  expect_nothing_left();
}

TEST_F(FetchedOnNode, isRefusedWhenItIsSomethingElse) {
  const HttpFiles web{{{"/a.img", {.body = disk}}}};
  const auto url = web.url("/a.img");
  const auto sum = sha256_hex("something else");
  EXPECT_THAT(bake_of(built_in_at(url, sum)), HasSubstr("checksum mismatch"));
  expect_nothing_left();
}

/// A simulated guest answers nothing that a guest would say of its cloud-init.
TEST_F(FetchedOnNode, leavesNothingOfAFirstStartThatFails) {
  std::ofstream{images_.path() / "debian13.qcow2"} << std::string(512, 'x');
  const std::string spec = R"({"sdn_config": null, "vms_config": [
      {"vm_source_config": {"built_in": "debian13"}, "nics": []}]})";
  auto work = [](FetchedOnNode& test, std::string text) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    co_await run.prepare(text);
  };
  std::string end = "made";
  try {
    px::testing::run(work(*this, spec));
  } catch (const Error& error) {
    end = error.what();
  }
  EXPECT_THAT(end, HasSubstr("our program in the guest ended"));
  expect_nothing_left();
  const auto zones = boost::json::serialize(node_.call("GET", "/cluster/sdn/zones").data());
  EXPECT_THAT(zones, HasSubstr("inspvmz")) << "the network for it stays";
}

}  // namespace
}  // namespace px::sandbox
