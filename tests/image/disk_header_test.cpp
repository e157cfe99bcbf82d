#include "image/disk_header.hpp"

#include "appliances.hpp"
#include "support/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::image {
namespace {

using testing::disk_bytes;
using testing::Folder;
using ::testing::HasSubstr;

constexpr std::uint64_t mib = 1U << 20U;

DiskHeader header_of(std::string_view bytes) {
  return read_disk_header(Window::of_memory(bytes, "disk.img"));
}

std::string error_of(std::string_view bytes) {
  try {
    header_of(bytes);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::bad_input);
    EXPECT_THAT(error.what(), HasSubstr("disk.img: "));
    return error.what();
  }
  return "no error";
}

std::string set(std::string bytes, std::size_t at, std::string_view value) {
  bytes.replace(at, value.size(), value);
  return bytes;
}

struct Made {
  const char* by_qemu;
  DiskFormat format;
  const char* kind;
};

TEST(DiskHeader, isReadOfWhatQemuMakes) {
  for (const auto& [by_qemu, format, kind] :
       {Made{"qcow2", DiskFormat::qcow2, "version 3"},
        Made{"qcow2,compat=0.10", DiskFormat::qcow2, "version 2"},
        Made{"vmdk,subformat=streamOptimized", DiskFormat::vmdk, "streamOptimized"},
        Made{"vmdk,subformat=monolithicSparse", DiskFormat::vmdk, "monolithicSparse"},
        Made{"vhdx", DiskFormat::vhdx, "dynamic"},
        Made{"vhdx,subformat=fixed", DiskFormat::vhdx, "fixed"},
        Made{"vdi", DiskFormat::vdi, "dynamic"}, Made{"vdi,static=on", DiskFormat::vdi, "fixed"},
        Made{"vpc,force_size=on", DiskFormat::vhd, "dynamic"},
        Made{"vpc,subformat=fixed,force_size=on", DiskFormat::vhd, "fixed"},
        Made{"raw", DiskFormat::raw, ""}}) {
    const auto header = header_of(disk_bytes(by_qemu));
    EXPECT_EQ(header.format, format) << by_qemu;
    EXPECT_EQ(header.kind, kind) << by_qemu;
    EXPECT_EQ(header.virtual_size, 64 * mib) << by_qemu;
    EXPECT_EQ(header.compression, Compression::none) << by_qemu;
  }
}

TEST(DiskHeader, isReadInTheMiddleOfAFile) {
  const Folder folder;
  const auto vhd = disk_bytes("vpc,subformat=fixed,force_size=on", "1M");
  const auto file = folder.write("x.ova", std::string(1000, 'x') + vhd + std::string(5000, 'x'));
  const auto header = read_disk_header(file, 1000, vhd.size());
  EXPECT_EQ(header.format, DiskFormat::vhd);
  EXPECT_EQ(header.virtual_size, 1 * mib);
}

TEST(DiskHeader, namesTheCompressionOfAFile) {
  EXPECT_EQ(header_of("\x1f\x8b\x08 and so on").compression, Compression::gzip);
  EXPECT_EQ(header_of(std::string_view{"\xfd"
                                       "7zXZ\0 and so on",
                                       16})
                .compression,
            Compression::xz);
  EXPECT_EQ(header_of("\x28\xb5\x2f\xfd and so on").compression, Compression::zstd);
  EXPECT_EQ(header_of("BZh91AY&SY and so on").compression, Compression::bzip2);
}

TEST(DiskHeader, knowsAnIsoImage) {
  std::string iso(64 * 1024, '\0');
  EXPECT_EQ(header_of(set(iso, 32769, "CD001")).kind, "ISO 9660");
}

// --- what is refused -----------------------------------------------------------------------------

TEST(BadDisk, thatNeedsAnotherFileIsRefused) {
  const Folder folder;
  testing::qemu_img({"create", "-f", "qcow2", (folder / "base").string(), "1M"});
  testing::qemu_img({"create", "-f", "qcow2", "-b", (folder / "base").string(), "-F", "qcow2",
                     (folder / "over").string()});
  EXPECT_THAT(error_of(testing::read_file(folder / "over")),
              HasSubstr("backing file \"" + (folder / "base").string() + "\""));

  testing::qemu_img({"create", "-f", "qcow2", "-o", "data_file=" + (folder / "data").string(),
                     (folder / "split").string(), "1M"});
  EXPECT_THAT(error_of(testing::read_file(folder / "split")), HasSubstr("data_file"));

  testing::qemu_img({"create", "-f", "vmdk", "-o", "subformat=monolithicFlat",
                     (folder / "flat.vmdk").string(), "1M"});
  EXPECT_THAT(error_of(testing::read_file(folder / "flat.vmdk")),
              HasSubstr("text descriptor, whose data is in flat-flat.vmdk"));

  testing::qemu_img({"create", "-f", "vmdk", (folder / "base.vmdk").string(), "1M"});
  testing::qemu_img({"create", "-f", "vmdk", "-b", (folder / "base.vmdk").string(), "-F", "vmdk",
                     (folder / "over.vmdk").string()});
  EXPECT_THAT(error_of(testing::read_file(folder / "over.vmdk")), HasSubstr("parentCID"));
}

TEST(BadDisk, thatIsEncryptedIsRefused) {
  const auto qcow2 = disk_bytes("qcow2");
  EXPECT_THAT(error_of(set(qcow2, 32, std::string_view{"\0\0\0\2", 4})), HasSubstr("encrypted"));
}

TEST(BadDisk, thatIsADifferenceIsRefused) {
  EXPECT_THAT(error_of(set(disk_bytes("vdi"), 0x4c, "\4")), HasSubstr("difference to another VDI"));
  auto vhdx = disk_bytes("vhdx");
  const auto parameters = vhdx.find(std::string_view{"metadata"});
  ASSERT_NE(parameters, std::string::npos);
  // File parameters are the first item, 64 KiB into the region: block size, then flags.
  EXPECT_THAT(error_of(set(vhdx, parameters + 64 * 1024 + 4, "\2")),
              HasSubstr("difference to another VHDX"));
}

TEST(BadDisk, thatIsOfUnknownVersionIsRefused) {
  EXPECT_THAT(error_of(set(disk_bytes("qcow2"), 4, std::string_view{"\0\0\0\4", 4})),
              HasSubstr("qcow version 4"));
  EXPECT_THAT(error_of(set(disk_bytes("vmdk,subformat=streamOptimized"), 4, "\x9")),
              HasSubstr("VMDK version 9"));
  EXPECT_THAT(error_of(set(disk_bytes("vdi"), 0x46, "\x2")), HasSubstr("VDI version 2"));
  EXPECT_THAT(error_of(std::string{"QED\0", 4} + std::string(508, '\0')), HasSubstr("QED"));
  EXPECT_THAT(error_of("COWD" + std::string(508, '\0')), HasSubstr("ESXi snapshot"));
}

TEST(BadDisk, thatIsCutOffIsRefused) {
  const auto cut = [](const std::string& format, std::size_t size) {
    return error_of(disk_bytes(format).substr(0, size));
  };
  EXPECT_THAT(cut("qcow2", 40), HasSubstr("the header of qcow2 is cut off"));
  EXPECT_THAT(cut("vmdk,subformat=monolithicSparse", 400), HasSubstr("cut off"));
  EXPECT_THAT(cut("vmdk,subformat=monolithicSparse", 1024), HasSubstr("cut off"));
  EXPECT_THAT(cut("vhdx", 100'000), HasSubstr("the region table of VHDX is cut off"));
  EXPECT_THAT(cut("vhdx", 1'100'000), HasSubstr("cut off"));
  EXPECT_THAT(cut("vdi", 300), HasSubstr("the header of VDI is cut off"));
  EXPECT_THAT(cut("vpc,force_size=on", 2048), HasSubstr("the VHD is cut off"));
  EXPECT_THAT(cut("raw", 1000), HasSubstr("no multiple of 512"));
  EXPECT_THAT(error_of(""), HasSubstr("it is empty"));
}

/// A stream's header says that the one that counts is in its footer (VMware writes so).
TEST(BadDisk, thatIsAStreamWithoutItsFooterIsRefused) {
  const auto stream = set(disk_bytes("vmdk,subformat=streamOptimized"), 56, std::string(8, '\xff'));
  EXPECT_THAT(error_of(stream), HasSubstr("should end with a footer"));
}

TEST(DiskHeader, ofAStreamIsTheOneInItsFooter) {
  const auto stream = disk_bytes("vmdk,subformat=streamOptimized");
  std::string marker(512, '\0');
  marker[12] = 3;
  const auto footer = stream.substr(0, 512);
  auto start = set(stream, 56, std::string(8, '\xff'));
  start = set(start, 12, std::string(8, '\0'));
  const auto header = header_of(start + marker + footer + std::string(512, '\0'));
  EXPECT_EQ(header.virtual_size, 64 * mib);
}

TEST(BadDisk, withSizesThatAreNoneIsRefused) {
  EXPECT_THAT(error_of(set(disk_bytes("qcow2"), 24, std::string(8, '\xff'))), HasSubstr("broken"));
  EXPECT_THAT(error_of(set(disk_bytes("qcow2"), 24, std::string(8, '\0'))), HasSubstr("no bytes"));
  EXPECT_THAT(
      error_of(set(disk_bytes("vmdk,subformat=streamOptimized"), 12, std::string(8, '\xff'))),
      HasSubstr("the capacity is 18446744073709551615 sectors"));
}

TEST(BadDisk, thatIsAWebPageOrATarIsRefused) {
  EXPECT_THAT(error_of("<!DOCTYPE html>" + std::string(497, ' ')), HasSubstr("web page"));
  EXPECT_THAT(error_of(testing::tar_of({{"a", "b"}})), HasSubstr("it is a tar"));
}

TEST(BadDisk, thatIsNoFileIsRefused) {
  const Folder folder;
  const auto said = [](const std::filesystem::path& path) {
    try {
      read_disk_header(path);
    } catch (const Error& error) {
      return std::string{error.what()};
    }
    return std::string{"no error"};
  };
  EXPECT_THAT(said(folder / "none"), HasSubstr("No such file"));
  EXPECT_THAT(said((folder / "x").parent_path()), HasSubstr("must be a regular file"));
}

}  // namespace
}  // namespace px::image
