#include "image/appliance_vm.hpp"

#include "support/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

void add_disk(Appliance& appliance, const std::string& controller, int position,
              const std::string& model = {}, int number = 0) {
  OvfDisk said;
  said.id = "d" + std::to_string(appliance.disks.size());
  said.controller = controller;
  said.scsi_model = model;
  said.controller_number = number;
  said.position = position;
  ApplianceDisk disk;
  disk.id = said.id;
  disk.file = said.id + ".vmdk";
  disk.controller = controller;
  disk.scsi_model = model;
  appliance.machine.disks.push_back(said);
  appliance.disks.push_back(disk);
}

Appliance with_scsi(const std::string& model, const std::string& os_type = "l26") {
  Appliance out;
  out.machine.os_type = os_type;
  add_disk(out, "scsi", 0, model);
  return out;
}

TEST(ApplianceVm, hasItsDisksInTheirPlaces) {
  Appliance appliance;
  add_disk(appliance, "scsi", 0, "virtualscsi");
  add_disk(appliance, "scsi", 5, "virtualscsi");
  add_disk(appliance, "ide", 1, "", 1);
  add_disk(appliance, "sata", 2);
  add_disk(appliance, "virtio", 0);
  const auto vm = vm_of(appliance);
  EXPECT_THAT(vm.slots, ElementsAre("scsi0", "scsi5", "ide3", "sata2", "virtio0"));
  EXPECT_THAT(vm.warnings, IsEmpty());
}

TEST(ApplianceVm, movesADiskWhosePlaceIsTakenOrDoesNotExist) {
  Appliance appliance;
  add_disk(appliance, "sata", 0);
  add_disk(appliance, "sata", 0, "", 1);
  add_disk(appliance, "sata", 29);
  EXPECT_THAT(vm_of(appliance).slots, ElementsAre("sata0", "sata1", "sata2"));
}

TEST(ApplianceVm, refusesMoreDisksThanABusHolds) {
  Appliance appliance;
  for (int i = 0; i < 7; ++i) add_disk(appliance, "sata", i);
  try {
    vm_of(appliance);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("more than 6 disks on sata"));
  }
}

TEST(ApplianceVm, hasTheScsiControllerOfItsSource) {
  EXPECT_EQ(vm_of(with_scsi("virtualscsi")).scsihw, "pvscsi");
  EXPECT_EQ(vm_of(with_scsi("virtio_scsi")).scsihw, "virtio-scsi-pci");
  EXPECT_EQ(vm_of(with_scsi("lsilogicsas")).scsihw, "megasas");
  EXPECT_EQ(vm_of(with_scsi("lsilogic")).scsihw, "lsi");
  EXPECT_EQ(vm_of(with_scsi("", "l26")).scsihw, "virtio-scsi-pci");
  EXPECT_EQ(vm_of(with_scsi("", "win7")).scsihw, "lsi");
  EXPECT_THAT(vm_of(with_scsi("lsilogic")).warnings,
              ElementsAre(HasSubstr("SCSI controller is lsilogic; lsi is taken")));
}

TEST(ApplianceVm, saysWhereProxmoxHasNoSuchThing) {
  auto appliance = with_scsi("virtualscsi");
  add_disk(appliance, "scsi", 1, "lsilogic", 1);
  add_disk(appliance, "nvme", 0);
  const auto vm = vm_of(appliance);
  EXPECT_THAT(vm.slots, ElementsAre("scsi0", "scsi1", "sata0"));
  EXPECT_EQ(vm.scsihw, "pvscsi");
  EXPECT_THAT(vm.warnings, ElementsAre(HasSubstr("NVMe"), HasSubstr("several models")));
}

TEST(ApplianceVm, isShownInProxmoxsWords) {
  auto appliance = with_scsi("virtualscsi");
  auto& machine = appliance.machine;
  machine.name = "  Web & Mail (2) ";
  machine.memory_mib = 2048;
  machine.vcpus = 4;
  machine.firmware = Firmware::efi;
  machine.secure_boot = true;
  machine.nics = {{"vmxnet3", "VmxNet3", "VM Network"}};
  EXPECT_THAT(
      options_of(appliance, vm_of(appliance)),
      ElementsAre(Pair("name", "Web-Mail-2"), Pair("memory", "2048"), Pair("cores", "4"),
                  Pair("ostype", "l26"), Pair("bios", "ovmf"),
                  Pair("efidisk0", "efitype=4m,pre-enrolled-keys=1"), Pair("scsihw", "pvscsi"),
                  Pair("scsi0", "d0.vmdk"), Pair("net0", "vmxnet3"), Pair("boot", "order=scsi0")));
}

}  // namespace
}  // namespace px::image
