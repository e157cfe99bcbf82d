#include "image/ova.hpp"

#include "appliances.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace px::image {
namespace {

using testing::box;
using testing::bytes_read;
using testing::disk_bytes;
using testing::fixture;
using testing::Folder;
using ::testing::HasSubstr;
using testing::stream;
using testing::tar_of;
using testing::TarFile;
using testing::with;

constexpr std::uint64_t mib = 1U << 20U;

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
  EXPECT_THROW(check_ova(read_ova(folder / "box.ovf")), Error) << "by its manifest";
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
