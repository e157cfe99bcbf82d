// Writers of one configuration, and growing a disk.
#include "node/vm_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::node {
namespace {

using node::testing::Params;
using node::testing::VmApi;
using ::testing::HasSubstr;

awaitable<void> write(VmApi& api, Params change, std::string& refusal) {
  refusal = co_await api.refusal("PUT", "/100/config", std::move(change));
}

awaitable<std::string> digest(VmApi& api) {
  const json::value config = co_await api.vm("GET", "/100/config");
  co_return json::text_at(config, "digest");
}

TEST(ConfigWriters, winOnceWithOneDigest) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "100"}}), "OK");
    const std::string seen = co_await digest(api);
    // The first makes a disk meanwhile: it is not the one who is done first.
    std::vector<std::string> refusals(3);
    std::vector<awaitable<void>> writers;
    writers.push_back(write(api, {{"digest", seen}, {"scsi0", "local:1"}}, refusals[0]));
    writers.push_back(write(api, {{"digest", seen}, {"name", "two"}}, refusals[1]));
    writers.push_back(write(api, {{"digest", seen}, {"name", "three"}}, refusals[2]));
    co_await all(std::move(writers));
    EXPECT_THAT(refusals,
                ::testing::ElementsAre("", "500 checksum mismatch (file change by other user?)",
                                       "500 checksum mismatch (file change by other user?)"));
    EXPECT_EQ(co_await api.option(100, "name"), "");
    EXPECT_EQ(co_await api.refusal("PUT", "/100/config",
                                   {{"digest", co_await digest(api)}, {"name", "four"}}),
              "");
  });
}

TEST(ConfigWriters, areRefusedAtOnceWithAnOldDigest) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "100"}, {"scsi0", "local:1"}}), "OK");
    const std::string seen = co_await digest(api);
    co_await api.vm("PUT", "/100/config", {{"description", "changed"}});
    for (const auto* method : {"PUT", "POST"}) {
      EXPECT_EQ(
          co_await api.refusal(method, "/100/config", {{"digest", seen}, {"description", "lost"}}),
          "500 checksum mismatch (file change by other user?)")
          << method;
    }
    EXPECT_EQ(co_await api.task("PUT", "/100/resize",
                                {{"disk", "scsi0"}, {"size", "2G"}, {"digest", seen}}),
              "checksum mismatch (file change by other user?)");
    EXPECT_EQ(co_await api.option(100, "description"), "changed");
  });
}

TEST(DiskResize, growsOnly) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(
        co_await api.task("POST", "",
                          {{"vmid", "100"}, {"scsi0", "local:1"}, {"ide2", "none,media=cdrom"}}),
        "OK");
    const auto resize = [&api](std::string disk, std::string size) -> awaitable<std::string> {
      co_return co_await api.task("PUT", "/100/resize", {{"disk", disk}, {"size", size}});
    };
    EXPECT_EQ(co_await resize("scsi0", "2G"), "OK");
    EXPECT_EQ(co_await api.option(100, "scsi0"), "local:100/vm-100-disk-0.raw,size=2G");
    EXPECT_EQ(co_await resize("scsi0", "+1.5G"), "OK");
    EXPECT_EQ(co_await api.option(100, "scsi0"), "local:100/vm-100-disk-0.raw,size=3584M");
    EXPECT_EQ(co_await resize("scsi0", "1G"), "shrinking disks is not supported");
    EXPECT_EQ(co_await resize("scsi1", "1G"), "disk 'scsi1' does not exist");
    EXPECT_EQ(co_await resize("ide2", "1G"), "you can't resize a cdrom");
    for (const auto* size : {"-1G", "1X", "", "G"}) {
      EXPECT_THAT(co_await api.refusal("PUT", "/100/resize", {{"disk", "scsi0"}, {"size", size}}),
                  HasSubstr("|size: value does not match the regex pattern"))
          << size;
    }
    EXPECT_THAT(co_await api.refusal("PUT", "/100/resize", {{"disk", "net0"}, {"size", "1G"}}),
                HasSubstr("|disk: value 'net0' does not have a value in the enumeration"));
  });
}

}  // namespace
}  // namespace px::node
