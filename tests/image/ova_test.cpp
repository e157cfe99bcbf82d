#include "image/ova.hpp"

#include "appliances.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace px::image {
namespace {

using testing::disk_bytes;
using testing::fixture;
using testing::Folder;
using ::testing::HasSubstr;
using testing::tar_of;
using testing::TarFile;
using testing::with;

constexpr std::uint64_t mib = 1U << 20U;

const char* const stream = "vmdk,subformat=streamOptimized";

/// The appliance of the fixture of VirtualBox, whole and right.
std::vector<TarFile> box() {
  const auto disk = disk_bytes(stream);
  const auto ovf = fixture("virtualbox");
  const auto manifest = fmt::format("SHA1 (box.ovf) = {}\nSHA1 (attacker-disk001.vmdk) = {}\n",
                                    sha1_hex(ovf), sha1_hex(disk));
  return {{"box.ovf", ovf}, {"attacker-disk001.vmdk", disk}, {"box.mf", manifest}};
}

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

// --- reading -------------------------------------------------------------------------------------

TEST(Ova, isUsedWhereItIs) {
  const Folder folder;
  const auto path = folder.write("box.ova", tar_of(box()));
  const auto appliance = read_ova(path);
  EXPECT_TRUE(appliance.packed);
  EXPECT_EQ(appliance.machine.name, "attacker");
  EXPECT_EQ(appliance.descriptor, "box.ovf");
  EXPECT_EQ(appliance.manifest.size(), 2U);
  EXPECT_THAT(appliance.warnings, ::testing::IsEmpty());
  ASSERT_EQ(appliance.disks.size(), 1U);
  const auto& disk = appliance.disks[0];
  EXPECT_EQ(disk.file, "attacker-disk001.vmdk");
  EXPECT_EQ(disk.path, path);
  EXPECT_EQ(disk.format, DiskFormat::vmdk);
  EXPECT_EQ(disk.kind, "streamOptimized");
  EXPECT_EQ(disk.capacity, 64 * mib);
  EXPECT_EQ(disk.controller, "sata");
  EXPECT_EQ(testing::read_file(path).substr(disk.offset, disk.size), disk_bytes(stream));
}

TEST(Ova, isReadInEveryFormOfTar) {
  const Folder folder;
  auto files = box();
  // Too long for a plain header, and no ASCII.
  const std::string name = std::string(150, 'd') + "-\u00fc.vmdk";
  files[0].bytes = with(files[0].bytes, "attacker-disk001.vmdk", name);
  files[1].name = name;
  files.pop_back();
  for (const auto* format : {"pax", "gnu"}) {
    const auto path = folder.write("box.ova", testing::tar_by_tool(format, files));
    const auto appliance = read_ova(path);
    ASSERT_EQ(appliance.disks.size(), 1U) << format;
    EXPECT_EQ(appliance.disks[0].file, name) << format;
    EXPECT_EQ(testing::read_file(path).substr(appliance.disks[0].offset, appliance.disks[0].size),
              disk_bytes(stream))
        << format;
  }
  const auto path = folder.write("box.ova", testing::tar_by_tool("ustar", box()));
  EXPECT_EQ(read_ova(path).disks.at(0).offset, read_ova(path).members.at(1).offset);
  EXPECT_NO_THROW(check_ova(read_ova(path)));
}

TEST(Ova, mayHaveItsFilesInAFolderAndWithDots) {
  const Folder folder;
  auto files = box();
  for (auto& file : files) file.name = "./box/" + file.name;
  files.insert(files.begin(), TarFile{"./box/", "", '5'});
  const auto path = folder.write("box.ova", tar_of(files));
  const auto appliance = read_ova(path);
  EXPECT_EQ(appliance.disks.at(0).file, "box/attacker-disk001.vmdk");
  EXPECT_EQ(appliance.manifest.size(), 2U);
  EXPECT_NO_THROW(check_ova(appliance));
}

TEST(Ova, withNamesThatAreUrlsIsRead) {
  const Folder folder;
  const auto path =
      folder.write("box.ova", tar_of({{"web.ovf", fixture("vmware")},
                                      {"web server-disk1.vmdk", disk_bytes(stream)},
                                      {"web server-disk2.vmdk", disk_bytes(stream)}}));
  const auto appliance = read_ova(path);
  ASSERT_EQ(appliance.disks.size(), 3U);
  EXPECT_EQ(appliance.disks[0].file, "web server-disk1.vmdk");
  EXPECT_EQ(appliance.disks[2].file, "");
  EXPECT_EQ(appliance.disks[2].capacity, std::uint64_t{5} << 30U);
  EXPECT_THAT(appliance.warnings,
              ::testing::Contains(HasSubstr("web server-disk2.vmdk has 67108864 bytes by its own "
                                            "header, 33554432 by the descriptor")));
}

TEST(Ova, ofOvirtIsRead) {
  const Folder folder;
  const auto path =
      folder.write("box.ova", tar_of({{"vm.ovf", fixture("ovirt")},
                                      {"0000aaaa-disk-data", disk_bytes("qcow2")},
                                      {"0000bbbb-disk-boot", disk_bytes("qcow2", "96M")}}));
  const auto appliance = read_ova(path);
  ASSERT_EQ(appliance.disks.size(), 2U);
  EXPECT_EQ(appliance.disks[0].file, "0000bbbb-disk-boot");
  EXPECT_EQ(appliance.disks[0].format, DiskFormat::qcow2);
  EXPECT_EQ(appliance.disks[0].capacity, 96 * mib);
}

TEST(Ova, withAGzipMemberSaysWhatIsInIt) {
  const Folder folder;
  const auto raw = folder.write("disk1.vmdk", disk_bytes(stream));
  testing::run_tool({"gzip", "-n", raw.string()});
  const auto packed = testing::read_file(folder / "disk1.vmdk.gz");
  const auto path =
      folder.write("box.ova", tar_of({{"a.ovf", fixture("ovf2")}, {"disk1.vmdk", packed}}));
  const auto disk = read_ova(path).disks.at(0);
  EXPECT_TRUE(disk.gzip);
  EXPECT_EQ(disk.format, DiskFormat::vmdk);
  EXPECT_EQ(disk.size, packed.size());
  EXPECT_EQ(disk.capacity, 64 * mib) << "the descriptor's";
}

TEST(Ova, mayBeADescriptorWithItsDisksBeside) {
  const Folder folder;
  for (const auto& file : box()) folder.write(file.name, file.bytes);
  const auto appliance = read_ova(folder / "box.ovf");
  EXPECT_FALSE(appliance.packed);
  ASSERT_EQ(appliance.disks.size(), 1U);
  EXPECT_EQ(appliance.disks[0].path, folder / "attacker-disk001.vmdk");
  EXPECT_EQ(appliance.disks[0].offset, 0U);
  EXPECT_EQ(appliance.disks[0].size, disk_bytes(stream).size());
  const auto sums = check_ova(appliance);
  ASSERT_EQ(sums.members.size(), 3U);
  folder.write("attacker-disk001.vmdk", disk_bytes(stream, "32M"));
  EXPECT_THAT(error_at(folder / "box.ovf"), HasSubstr("attacker-disk001.vmdk"));
}

/// Bytes that this process has read so far.
std::uint64_t bytes_read() {
  std::ifstream in{"/proc/self/io"};
  std::string key;
  std::uint64_t value = 0;
  in >> key >> value;
  EXPECT_EQ(key, "rchar:");
  return value;
}

TEST(Ova, ofTwentyGigabytesCostsItsHeadersOnly) {
  const Folder folder;
  const auto path = folder / "box.ova";
  constexpr std::uint64_t huge = std::uint64_t{20'000'000'256};
  const auto ovf = fixture("handmade");
  {
    std::ofstream out{path, std::ios::binary};
    out << testing::tar_header({"disk.qcow2", ""}, huge) << disk_bytes("qcow2", "1G");
    out.seekp(static_cast<std::streamoff>(512 + huge + 256));
    out << tar_of({{"a.ovf", ovf}});
  }
  const auto before = bytes_read();
  const auto appliance = read_ova(path);
  EXPECT_LT(bytes_read() - before, 200'000U);
  EXPECT_EQ(appliance.disks.at(0).size, huge);
  EXPECT_EQ(appliance.disks.at(0).capacity, std::uint64_t{1} << 30U);
}

// --- sums ----------------------------------------------------------------------------------------

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

// --- bad input -----------------------------------------------------------------------------------

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

TEST(Ova, whoseManifestLeavesADiskOutSaysSo) {
  const Folder folder;
  auto files = box();
  files[2].bytes = "SHA1(box.ovf)= " + sha1_hex(files[0].bytes);
  const auto appliance = read_ova(folder.write("box.ova", tar_of(files)));
  EXPECT_THAT(appliance.warnings,
              ::testing::ElementsAre("The manifest has no sum of attacker-disk001.vmdk."));
}

}  // namespace
}  // namespace px::image
