// What is read of a VM's drives.
#include "image/drives.hpp"

#include <gtest/gtest.h>

namespace px::image {
namespace {

pve::qemu::VmConfigMap config(std::map<std::string, std::string> values) {
  return {std::move(values), ""};
}

TEST(Drives, haveTheirSizeInGib) {
  EXPECT_EQ(gib_of_drive("local:100/base-100-disk-0.qcow2,size=32G,ssd=1"), 32);
  EXPECT_EQ(gib_of_drive("local:100/base-100-disk-0.qcow2,size=3584M"), 3.5);
  EXPECT_EQ(gib_of_drive("local:vm-100-disk-0,size=1T"), 1024);
  EXPECT_EQ(gib_of_drive("local:vm-100-disk-0,size=1073741824"), 1);
  EXPECT_EQ(gib_of_drive("none,media=cdrom"), 0);
}

TEST(Drives, lieOnTheStorageThatTheyName) {
  EXPECT_EQ(storage_of_drive("local-lvm:vm-100-disk-0,size=1G"), "local-lvm");
}

TEST(BootDisk, isTheFirstDiskOfTheOrder) {
  EXPECT_EQ(boot_disk(config({{"boot", "order=net0;ide2;sata1"},
                              {"ide2", "local:iso/a.iso,media=cdrom"},
                              {"sata1", "local:vm-1-disk-0"},
                              {"scsi0", "local:vm-1-disk-1"}})),
            "sata1");
}

TEST(BootDisk, isTheFirstOneWhereThereIsNoOrder) {
  EXPECT_EQ(boot_disk(config({{"virtio0", "local:vm-1-disk-0"}})), "virtio0");
  EXPECT_EQ(boot_disk(config({})), "");
}

TEST(CdDrive, isOneThatIsThereElseAFreeScsiPlace) {
  EXPECT_EQ(cd_drive_of(config({{"scsihw", "virtio-scsi-pci"}, {"sata3", "none,media=cdrom"}})),
            "sata3");
  EXPECT_EQ(cd_drive_of(config({{"scsihw", "virtio-scsi-pci"}, {"scsi1", "local:vm-1-disk-0"}})),
            "scsi2");
}

TEST(CdDrive, isNoneOnQ35WithoutVirtioScsiForItWouldNeedAhci) {
  EXPECT_EQ(cd_drive_of(config({{"machine", "pc-q35-9.2"}})), "");
  EXPECT_EQ(cd_drive_of(config({})), "ide2");
}

TEST(SeedDrive, isThatOfTheServersOwnCloudInit) {
  EXPECT_EQ(seed_drive_of(config({{"scsihw", "virtio-scsi-pci"},
                                  {"scsi0", "local:vm-1-disk-0"},
                                  {"ide0", "local:iso/cloudinit.iso,media=cdrom"},
                                  {"sata1", "local-lvm:vm-100-cloudinit,media=cdrom,size=4M"}})),
            "sata1");
  EXPECT_EQ(seed_drive_of(config({{"ide2", "local:100/vm-100-cloudinit.qcow2,media=cdrom"}})),
            "ide2");
}

TEST(SeedDrive, isOnTheBusOfTheDiskThatBoots) {
  EXPECT_EQ(seed_drive_of(config({{"scsihw", "virtio-scsi-single"},
                                  {"scsi0", "local:vm-1-disk-0"},
                                  {"scsi1", "none,media=cdrom"}})),
            "scsi2");
  EXPECT_EQ(seed_drive_of(config({{"scsihw", "virtio-scsi-pci"}, {"ide0", "local:vm-1-disk-0"}})),
            "ide2");
}

TEST(SeedDrive, needsNoAhciWhereThereIsAnotherWay) {
  EXPECT_EQ(
      seed_drive_of(config(
          {{"machine", "q35"}, {"scsihw", "virtio-scsi-pci"}, {"virtio0", "local:vm-1-disk-0"}})),
      "scsi1");
  EXPECT_EQ(seed_drive_of(config({{"machine", "q35"}, {"sata0", "local:vm-1-disk-0"}})), "ide2");
}

}  // namespace
}  // namespace px::image
