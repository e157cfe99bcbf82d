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
using testing::disk_bytes;
using testing::fixture;
using testing::Folder;
using ::testing::HasSubstr;
using testing::stream;
using testing::tar_of;
using testing::with;

std::string error_at(const std::filesystem::path& path) {
  try {
    check_ova(read_ova(path));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::bad_input);
    return error.what();
  }
  return "no error";
}

std::string error_of(std::string_view tar) {
  const Folder folder;
  return error_at(folder.write("box.ova", tar));
}

TEST(BadOva, thatIsNoTarIsRefused) {
  EXPECT_THAT(error_of(""), HasSubstr("box.ova: offset 0: the file is empty"));
  EXPECT_THAT(error_of(std::string(4096, 'x')), HasSubstr("box.ova: offset 0: it is no tar"));
  EXPECT_THAT(error_of("PK\3\4" + std::string(600, 'x')), HasSubstr("it is a zip"));
  EXPECT_THAT(error_of("\x1f\x8b\x08" + std::string(600, 'x')), HasSubstr("it is compressed"));
  EXPECT_THAT(error_of(fixture("vmware")), HasSubstr("must end in .ovf"));
}

TEST(BadOva, thatIsCutOffIsRefusedNamingTheMember) {
  const auto tar = tar_of(box());
  EXPECT_THAT(error_of(tar.substr(0, 100)), HasSubstr("it is no tar"));
  EXPECT_THAT(error_of(tar.substr(0, 2000)),
              HasSubstr("box.ova: offset 512: member \"box.ovf\" is cut off"));
  EXPECT_THAT(error_of(tar.substr(0, 20'000)), HasSubstr("\"attacker-disk001.vmdk\" is cut off"));
}

TEST(BadOva, whoseHeadersAreBrokenIsRefused) {
  auto tar = tar_of(box());
  const auto second = 512 + (box()[0].bytes.size() + 511) / 512 * 512;
  tar[second + 10] = 'x';
  EXPECT_THAT(error_of(tar),
              HasSubstr(fmt::format("box.ova: offset {}: the tar is broken", second)));
}

TEST(BadOva, withoutADescriptorOrWithTwoIsRefused) {
  EXPECT_THAT(error_of(tar_of({{"a.vmdk", "x"}})),
              HasSubstr("no descriptor (.ovf); its members are: a.vmdk"));
  auto files = box();
  files.push_back({"other.ovf", "x"});
  EXPECT_THAT(error_of(tar_of(files)), HasSubstr("2 descriptors (box.ovf, other.ovf)"));
}

TEST(BadOva, withNamesThatLeadOutIsRefused) {
  for (const auto* name : {"../evil", "a/../../evil", "/etc/evil", ".."}) {
    auto files = box();
    files.push_back({name, "x"});
    const auto said = error_of(tar_of(files));
    EXPECT_THAT(said, HasSubstr(fmt::format("member \"{}\": the name ", name)));
    EXPECT_THAT(said, HasSubstr("box.ova: offset "));
  }
}

TEST(BadOva, withLinksAndDevicesIsRefused) {
  for (const auto& [type, said] :
       {std::pair{'1', "a hard link"}, std::pair{'2', "a symbolic link"},
        std::pair{'3', "a device"}, std::pair{'4', "a device"}, std::pair{'6', "a pipe"}}) {
    auto files = box();
    files.push_back({"odd", "", type, "/etc/passwd"});
    EXPECT_THAT(error_of(tar_of(files)), HasSubstr(fmt::format("member \"odd\" is {}", said)));
  }
}

TEST(BadOva, withASparseMemberIsRefused) {
  const Folder folder;
  folder.write("in/box.ovf", fixture("virtualbox"));
  folder.write("in/disk", "x");
  testing::run_tool({"truncate", "-s", "1M", (folder / "in/disk").string()});
  for (const auto* format : {"gnu", "pax"}) {
    testing::run_tool({"tar", "--sparse", "--format=" + std::string{format}, "-cf",
                       (folder / "box.ova").string(), "-C", (folder / "in").string(), "box.ovf",
                       "disk"});
    EXPECT_THAT(error_at(folder / "box.ova"), HasSubstr("is a sparse file")) << format;
  }
}

TEST(BadOva, withControlCharactersInANameDoesNotPrintThem) {
  auto files = box();
  files.push_back({"a\x1b[2Jb", "x"});
  EXPECT_THAT(error_of(tar_of(files)),
              HasSubstr("member \"a?[2Jb\": the name has control characters"));
}

TEST(BadOva, withAMemberTwiceIsRefused) {
  auto files = box();
  files.push_back({"./attacker-disk001.vmdk", "x"});
  EXPECT_THAT(error_of(tar_of(files)),
              HasSubstr("member \"attacker-disk001.vmdk\" is there twice"));
}

TEST(BadOva, thatLacksADiskIsRefused) {
  auto files = box();
  files.erase(files.begin() + 1);
  EXPECT_THAT(
      error_of(tar_of(files)),
      HasSubstr("box.ova: box.ovf: is \"attacker-disk001.vmdk\"; the OVA has no such member"));
}

TEST(BadOva, whoseDescriptorLeadsOutIsRefused) {
  for (const auto* name : {"../disk.vmdk", "/etc/passwd", "..%2fdisk.vmdk"}) {
    auto files = box();
    files[0].bytes = with(files[0].bytes, "attacker-disk001.vmdk", name);
    EXPECT_THAT(error_of(tar_of(files)), HasSubstr("no absolute path, no `..`")) << name;
  }
}

TEST(BadOva, whoseManifestNamesUnknownFilesIsRefused) {
  auto files = box();
  files[2].bytes += "SHA1(gone.vmdk)= " + std::string(40, '0');
  EXPECT_THAT(error_of(tar_of(files)),
              HasSubstr("box.ova: box.mf: is \"gone.vmdk\"; the manifest names it"));
}

TEST(BadOva, withADiskOfUnknownCompressionIsRefused) {
  auto files = box();
  files.pop_back();
  files[1].bytes =
      std::string{
          "\xfd"
          "7zXZ\0",
          6} +
      std::string(600, 'x');
  EXPECT_THAT(error_of(tar_of(files)), HasSubstr("box.ova: attacker-disk001.vmdk: is \"xz\""));
  files[1].bytes = disk_bytes(stream);
  files[0].bytes =
      with(files[0].bytes, "ovf:id=\"file1\"", "ovf:id=\"file1\" ovf:compression=\"gzip\"");
  EXPECT_THAT(error_of(tar_of(files)), HasSubstr("the disk is no gzip stream"));
}

TEST(BadOva, withABrokenDiskIsRefusedNamingIt) {
  auto files = box();
  files[1].bytes.resize(1024);
  EXPECT_THAT(error_of(tar_of(files)), HasSubstr("box.ova: attacker-disk001.vmdk: "));
}

TEST(BadOva, withoutADiskIsRefused) {
  auto files = box();
  files[0].bytes = with(files[0].bytes, "<rasd:ResourceType>17<", "<rasd:ResourceType>1<");
  EXPECT_THAT(error_of(tar_of(files)), HasSubstr("its machine has no disk"));
}

TEST(BadOva, thatIsAFolderWithALinkOutOfItIsRefused) {
  const Folder folder;
  const Folder other;
  folder.write("box.ovf", fixture("virtualbox"));
  const auto target = other.write("secret", disk_bytes(stream));
  std::filesystem::create_symlink(target, folder / "attacker-disk001.vmdk");
  EXPECT_THAT(error_at(folder / "box.ovf"), HasSubstr("it is a link to " + target.string()));
}

}  // namespace
}  // namespace px::image
