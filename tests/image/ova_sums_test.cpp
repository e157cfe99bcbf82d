#include "appliances.hpp"
#include "image/ova.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::image {
namespace {

using testing::box;
using testing::bytes_read;
using testing::disk_bytes;
using testing::Folder;
using ::testing::HasSubstr;
using testing::stream;
using testing::tar_of;

constexpr std::uint64_t mib = 1U << 20U;

TEST(OvaCheck, givesTheSumsOfTheFileAndOfItsMembersInOnePass) {
  const Folder folder;
  auto files = box();
  files.push_back({"empty", ""});
  const auto tar = tar_of(files);
  const auto appliance = read_ova(folder.write("box.ova", tar));
  std::vector<std::uint64_t> seen;
  std::uint64_t total = 0;
  const auto before = bytes_read();
  const auto sums = check_ova(appliance, [&](std::uint64_t done, std::uint64_t all) {
    seen.push_back(done);
    total = all;
  });
  EXPECT_LT(bytes_read() - before, tar.size() + 10'000);
  EXPECT_EQ(sums.sha256, sha256_hex(tar));
  ASSERT_EQ(sums.members.size(), 4U);
  EXPECT_EQ(sums.members[1].name, "attacker-disk001.vmdk");
  EXPECT_EQ(sums.members[1].sha256, sha256_hex(disk_bytes(stream)));
  EXPECT_EQ(sums.members[3].sha256, sha256_hex(""));
  EXPECT_EQ(total, tar.size());
  EXPECT_EQ(seen.back(), tar.size());
}

TEST(OvaCheck, goesOverThePiecesThatItReads) {
  const Folder folder;
  auto files = box();
  files[1].bytes = disk_bytes("vmdk,subformat=monolithicSparse") + std::string(5 * mib + 77, 'x');
  files[2].bytes = "SHA256(attacker-disk001.vmdk)= " + sha256_hex(files[1].bytes);
  const auto sums = check_ova(read_ova(folder.write("box.ova", tar_of(files))));
  EXPECT_EQ(sums.members[1].sha256, sha256_hex(files[1].bytes));
}

TEST(OvaCheck, endsWhenItsProgressThrows) {
  const Folder folder;
  const auto appliance = read_ova(folder.write("box.ova", tar_of(box())));
  EXPECT_THROW(check_ova(appliance, [](auto, auto) { throw Error{Errc::cancelled, "stop"}; }),
               Error);
}

std::string error_of(std::string_view tar) {
  const Folder folder;
  const auto appliance = read_ova(folder.write("box.ova", tar));
  try {
    check_ova(appliance);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::bad_input);
    return error.what();
  }
  return "no error";
}

TEST(OvaCheck, refusesAWrongSumNamingMemberAndOffset) {
  for (const auto& kind :
       {std::pair{"SHA1", 40}, std::pair{"SHA256", 64}, std::pair{"SHA512", 128}}) {
    auto files = box();
    files[2].bytes = fmt::format("{}(attacker-disk001.vmdk)= {}", kind.first,
                                 std::string(static_cast<std::size_t>(kind.second), '0'));
    const auto said = error_of(tar_of(files));
    EXPECT_THAT(said, HasSubstr("box.ova: member attacker-disk001.vmdk at offset "));
    EXPECT_THAT(said, HasSubstr(fmt::format("its {} sum is ", kind.first)));
  }
}

TEST(OvaCheck, refusesAFileThatBecameShorter) {
  const Folder folder;
  for (const auto& file : box()) folder.write(file.name, file.bytes);
  const auto appliance = read_ova(folder / "box.ovf");
  folder.write("attacker-disk001.vmdk", "short");
  EXPECT_THROW(check_ova(appliance), Error);
}

}  // namespace
}  // namespace px::image
