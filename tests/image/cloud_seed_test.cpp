// A guest's cloud-init medium, as another reader sees it.
#include "image/cloud_seed.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <map>
#include <memory>

namespace px::image {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

std::map<std::string, std::string> files_in(const std::string& image) {
  const std::unique_ptr<archive, decltype(&archive_read_free)> reader{archive_read_new(),
                                                                      &archive_read_free};
  archive_read_support_format_iso9660(reader.get());
  EXPECT_EQ(archive_read_open_memory(reader.get(), image.data(), image.size()), ARCHIVE_OK);
  std::map<std::string, std::string> files;
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader.get(), &entry) == ARCHIVE_OK) {
    if (archive_entry_filetype(entry) != AE_IFREG) continue;
    std::string text(static_cast<std::size_t>(archive_entry_size(entry)), '\0');
    if (!text.empty()) archive_read_data(reader.get(), text.data(), text.size());
    files[archive_entry_pathname(entry)] = std::move(text);
  }
  return files;
}

const CloudSeed everything{.host_name = "web.example.org",
                           .user_data = "#cloud-config\nruncmd: [ls]\n",
                           .network_config = "version: 2\n"};

TEST(SeedImages, holdTheFilesOfTheNoCloudDataSource) {
  const auto seed = make_seed_image(everything);
  const auto files = files_in(seed.bytes);
  EXPECT_EQ(files.size(), 4U);
  EXPECT_EQ(files.at("user-data"), "#cloud-config\nruncmd: [ls]\n");
  EXPECT_EQ(files.at("network-config"), "version: 2\n");
  EXPECT_EQ(files.at("meta-data"), "{\"instance-id\":\"" + seed.instance_id +
                                       "\",\"local-hostname\":\"web.example.org\"}\n");
  EXPECT_THAT(files.at("vendor-data"), HasSubstr("manage_etc_hosts"));
}

TEST(SeedImages, leaveTheGuestItsNameAndItsNetwork) {
  const auto files = files_in(make_seed_image({.user_data = "#!/bin/sh\n"}).bytes);
  EXPECT_EQ(files.size(), 2U);
  EXPECT_THAT(files.at("meta-data"), Not(HasSubstr("hostname")));
}

TEST(SeedImages, haveTheLabelThatGuestsLookFor) {
  // ECMA-119, 8.4.7: the volume identifier, from byte 41 of sector 16 on.
  EXPECT_EQ(make_seed_image(everything).bytes.substr(16 * 2048 + 40, 32),
            "cidata" + std::string(26, ' '));
}

TEST(SeedImages, areTheSameBytesForTheSameContentWhereverTheyAreMade) {
  const auto one = make_seed_image(everything);
  ::setenv("TZ", "America/New_York", 1);  // the writer knows the time of day
  ::tzset();
  const auto other = make_seed_image(everything);
  ::unsetenv("TZ");
  ::tzset();
  EXPECT_TRUE(one.bytes == other.bytes);
  EXPECT_EQ(one.file_name, other.file_name);
}

TEST(SeedImages, areAnotherInstanceWithAnotherContent) {
  const auto one = make_seed_image(everything);
  EXPECT_THAT(one.instance_id, MatchesRegex("inspect-[0-9a-f]{16}"));
  EXPECT_TRUE(is_seed(one.file_name)) << one.file_name;
  for (auto change : {&CloudSeed::host_name, &CloudSeed::user_data, &CloudSeed::network_config}) {
    auto changed = everything;
    changed.*change += "x";
    const auto other = make_seed_image(changed);
    EXPECT_NE(one.instance_id, other.instance_id);
    EXPECT_NE(one.file_name, other.file_name);
  }
  EXPECT_NE(make_seed_image({.host_name = "a", .user_data = "b"}).instance_id,
            make_seed_image({.host_name = "ab"}).instance_id);
}

TEST(SeedImages, areToldFromOtherFiles) {
  EXPECT_FALSE(is_seed("inspect-0badc0de-0123.iso"));
  EXPECT_FALSE(is_seed("inspect-seed-0123456789abcdeX.iso"));
}

}  // namespace
}  // namespace px::image
