// The table of built-ins.
#include "image/built_in.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace px::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

TEST(BuiltIns, areThoseOfTheExistingProviderAndOurs) {
  std::vector<std::string_view> names;
  for (const auto& built_in : built_ins()) names.push_back(built_in.name);
  EXPECT_THAT(names, ElementsAre("debian13-small", "debian13", "ubuntu24.04", "kali2025.4"));
}

TEST(BuiltIns, fromTheNetAreDatedReleasesWithASum) {
  for (const auto& built_in : built_ins()) {
    if (built_in.url.empty()) continue;
    const std::string url{built_in.url};
    EXPECT_THAT(url, MatchesRegex("https://.*(20[0-9]{6}|2025\\.4).*"));
    EXPECT_EQ(url.find("latest"), url.npos);
    EXPECT_EQ(url.find("current"), url.npos);
    EXPECT_THAT(std::string{built_in.sum}, MatchesRegex("[0-9a-f]+"));
    EXPECT_EQ(built_in.sum.size(), built_in.kind == HashKind::sha512 ? 128U : 64U) << url;
  }
}

TEST(BuiltIns, haveFilesOfTheirOwnAndAUser) {
  std::set<std::string_view> files;
  for (const auto& built_in : built_ins()) {
    EXPECT_TRUE(files.insert(built_in.file).second) << built_in.file;
    EXPECT_FALSE(built_in.user.empty()) << built_in.name;
  }
}

TEST(BuiltIns, sayWhichFileToPutWhere) {
  const auto error = missing_file(find_built_in("kali2025.4"), "pve1", "no network");
  EXPECT_EQ(error.kind, Errc::not_found);
  EXPECT_THAT(error.said, HasSubstr("no file kali2025.4.img in "));
  EXPECT_THAT(error.said, HasSubstr("; no network"));
  EXPECT_THAT(error.hint, HasSubstr("proxmox-sandbox image add kali2025.4 --from FILE"));
  EXPECT_THAT(error.hint, HasSubstr("https://kali.download/"));
}

}  // namespace
}  // namespace px::image
