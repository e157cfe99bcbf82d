#include "node/vm/vm_config.hpp"

#include "node/vm/vm_options.hpp"
#include "support/error.hpp"

#include <gtest/gtest.h>

namespace px::node {
namespace {

TEST(VmConfig, survivesPrintingAndParsing) {
  VmConfig config;
  config.current = {{"name", "one"},
                    {"description", "text with ü ✓\nline 2: 100 %\r\n"},
                    {"scsi0", "local:100/vm-100-disk-0.qcow2,size=1536M"},
                    {"template", "1"}};
  config.pending = {{"memory", "640"}};
  config.pending_delete = {"net0", "ide2"};
  config.snapshots["ram1"] = {{"snaptime", "17"}, {"parent", "disk1"}, {"description", "[x]\n"}};
  const VmConfig back = VmConfig::parse(config.print());
  EXPECT_EQ(back.current, config.current);
  EXPECT_EQ(back.pending, config.pending);
  EXPECT_EQ(back.pending_delete, config.pending_delete);
  EXPECT_EQ(back.snapshots, config.snapshots);
  EXPECT_EQ(back.digest(), config.digest());
}

TEST(VmConfig, changesItsDigestWithEveryChange) {
  VmConfig config;
  config.current = {{"name", "one"}};
  const std::string before = config.digest();
  EXPECT_EQ(before.size(), 40U);
  config.pending["memory"] = "640";
  EXPECT_NE(config.digest(), before);
}

TEST(VmConfig, namesTheLineItCannotRead) {
  try {
    VmConfig::parse("name: one\nnonsense\n");
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string{error.what()}.find("line 2"), std::string::npos) << error.what();
  }
}

TEST(VmConfig, showsTheOptionsAfterTheNextStart) {
  VmConfig config;
  config.current = {{"memory", "512"}, {"ide2", "none,media=cdrom"}};
  config.pending = {{"memory", "640"}, {"cores", "2"}};
  config.pending_delete = {"ide2"};
  EXPECT_EQ(config.after_pending(), (Options{{"cores", "2"}, {"memory", "640"}}));
}

struct DriveRow {
  const char* name;
  const char* text;
  const char* printed;  ///< nullptr = refused
  bool cdrom;
};

class DriveTexts : public ::testing::TestWithParam<DriveRow> {};

TEST_P(DriveTexts, areReadAndPrintedInOneForm) {
  const DriveRow& row = GetParam();
  if (row.printed == nullptr) {
    EXPECT_THROW(Drive::parse(row.name, row.text), Error);
    return;
  }
  const Drive drive = Drive::parse(row.name, row.text);
  EXPECT_EQ(drive.print(), row.printed);
  EXPECT_EQ(drive.is_cdrom(), row.cdrom);
}

INSTANTIATE_TEST_SUITE_P(
    Drives, DriveTexts,
    ::testing::Values(DriveRow{"scsi0", "local:100/vm-100-disk-0.qcow2,size=1536M",
                               "local:100/vm-100-disk-0.qcow2,size=1536M", false},
                      DriveRow{"scsi0", "size=1G,file=local:8", "local:8,size=1G", false},
                      DriveRow{"scsi3", "local:iso/x.iso,size=4444K,media=cdrom",
                               "local:iso/x.iso,media=cdrom,size=4444K", true},
                      DriveRow{"ide2", "none,media=cdrom", "none,media=cdrom", true},
                      DriveRow{"ide2", "none", nullptr, false},
                      DriveRow{"scsi0", "", nullptr, false},
                      DriveRow{"virtio5", "local:iso/x.iso,media=cdrom", nullptr, false}));

TEST(Sizes, areReadAndPrintedAsTheServerDoes) {
  EXPECT_EQ(parse_size("1536M"), 1610612736U);
  EXPECT_EQ(parse_size("512"), 512U);
  EXPECT_EQ(parse_size("big"), std::nullopt);
  EXPECT_EQ(parse_size("1GB"), std::nullopt);
  EXPECT_EQ(print_size(1610612736), "1536M");
  EXPECT_EQ(print_size(std::uint64_t{2} << 30), "2G");
  EXPECT_EQ(print_size(4550656), "4444K");
  EXPECT_EQ(print_size(100), "100");
}

TEST(OptionNames, tellDrivesByBusAndNumber) {
  for (const auto* name : {"scsi0", "scsi30", "ide3", "sata5", "virtio15", "efidisk0"}) {
    EXPECT_TRUE(is_drive_option(name)) << name;
  }
  for (const auto* name : {"scsi31", "scsihw", "ide4", "unused0", "net0", "scsi"}) {
    EXPECT_FALSE(is_drive_option(name)) << name;
  }
  EXPECT_NE(find_vm_option("hookscript"), nullptr);
  EXPECT_NE(find_vm_option("net7"), nullptr);
  EXPECT_EQ(find_vm_option("nosuch"), nullptr);
}

TEST(DriveLists, areInTheOrderOfTheirNumbers) {
  const auto drives = drives_of({{"scsi10", "local:1"}, {"scsi2", "local:1"}, {"scsihw", "lsi"}});
  ASSERT_EQ(drives.size(), 2U);
  EXPECT_EQ(drives.front().name, "scsi2");
}

}  // namespace
}  // namespace px::node
