#include "image/ovf.hpp"

#include "appliances.hpp"
#include "support/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::image {
namespace {

using testing::fixture;
using ::testing::HasSubstr;
using testing::with;

constexpr std::uint64_t mib = 1U << 20U;
constexpr std::uint64_t gib = 1U << 30U;

std::string error_of(std::string_view text) {
  try {
    parse_ovf(text, "box.ova: box.ovf");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::bad_input);
    return error.what();
  }
  return "no error";
}

// --- flavours ------------------------------------------------------------------------------------

TEST(OvfOfVmware, isReadWithItsDefaultConfiguration) {
  const auto vm = parse_ovf(fixture("vmware"), "x.ovf");
  EXPECT_EQ(vm.flavour, "vmware");
  EXPECT_EQ(vm.version, "1");
  EXPECT_EQ(vm.name, "Web & Mail Server");
  EXPECT_EQ(vm.vcpus, 4);
  EXPECT_EQ(vm.memory_mib, 2048U);
  EXPECT_EQ(vm.firmware, Firmware::efi);
  EXPECT_TRUE(vm.secure_boot);
  EXPECT_EQ(vm.os_said, "ubuntu64Guest");
  EXPECT_EQ(vm.os_type, "l26");
}

TEST(OvfOfVmware, hasItsDisksInTheOrderOfTheirPlaces) {
  const auto vm = parse_ovf(fixture("vmware"), "x.ovf");
  ASSERT_EQ(vm.disks.size(), 3U);
  EXPECT_EQ(vm.disks[0].id, "vmdisk1");
  EXPECT_EQ(vm.disks[0].controller, "scsi");
  EXPECT_EQ(vm.disks[0].scsi_model, "virtualscsi");
  EXPECT_EQ(vm.disks[0].position, 0);
  EXPECT_EQ(vm.disks[0].capacity, 64 * mib);
  ASSERT_TRUE(vm.disks[0].file);
  EXPECT_EQ(vm.disks[0].file->href, "web%20server-disk1.vmdk");
  EXPECT_EQ(vm.disks[1].id, "vmdisk2");
  EXPECT_EQ(vm.disks[1].position, 1);
  EXPECT_EQ(vm.disks[2].controller, "ide");
  EXPECT_EQ(vm.disks[2].controller_number, 1) << "by its address, though it is listed first";
  EXPECT_EQ(vm.disks[2].capacity, 5 * gib);
  EXPECT_FALSE(vm.disks[2].file) << "an empty disk";
}

TEST(OvfOfVmware, bootsFromTheDiskThatItsBootOrderNames) {
  const auto text =
      with(fixture("vmware"), "<vmw:Config ovf:required=\"false\" vmw:key=\"firmware\"",
           "<vmw:BootOrderSection vmw:instanceId=\"7\" vmw:type=\"disk\"/>"
           "<vmw:Config ovf:required=\"false\" vmw:key=\"firmware\"");
  EXPECT_EQ(parse_ovf(text, "x.ovf").disks.at(0).id, "vmdisk2");
}

TEST(OvfOfVmware, hasItsCardsWithTheirNetworks) {
  const auto vm = parse_ovf(fixture("vmware"), "x.ovf");
  ASSERT_EQ(vm.nics.size(), 2U);
  EXPECT_EQ(vm.nics[0].model, "vmxnet3");
  EXPECT_EQ(vm.nics[0].network, "VM Network");
  EXPECT_EQ(vm.nics[1].model, "e1000e");
  EXPECT_EQ(vm.nics[1].said, "E1000e");
}

TEST(OvfOfVmware, saysWhatIsLeftOut) {
  const auto vm = parse_ovf(fixture("vmware"), "x.ovf");
  EXPECT_THAT(vm.warnings, ::testing::UnorderedElementsAre(HasSubstr("medium in drive 9"),
                                                           HasSubstr("vApp options")));
}

TEST(OvfOfVirtualBox, isRead) {
  const auto vm = parse_ovf(fixture("virtualbox"), "x.ovf");
  EXPECT_EQ(vm.flavour, "virtualbox");
  EXPECT_EQ(vm.name, "attacker") << "by its id, for it has no name";
  EXPECT_EQ(vm.vcpus, 2);
  EXPECT_EQ(vm.memory_mib, 4096U);
  EXPECT_EQ(vm.firmware, Firmware::efi);
  EXPECT_FALSE(vm.secure_boot);
  EXPECT_EQ(vm.os_type, "win10");
  ASSERT_EQ(vm.disks.size(), 1U);
  EXPECT_EQ(vm.disks[0].controller, "sata");
  EXPECT_EQ(vm.disks[0].capacity, 64 * mib) << "without a unit, bytes";
  ASSERT_EQ(vm.nics.size(), 1U);
  EXPECT_EQ(vm.nics[0].model, "pcnet");
  EXPECT_THAT(vm.warnings, ::testing::IsEmpty());
}

TEST(OvfOfOvirt, isReadWithTheDiskFirstThatBoots) {
  const auto vm = parse_ovf(fixture("ovirt"), "x.ovf");
  EXPECT_EQ(vm.flavour, "ovirt");
  EXPECT_EQ(vm.name, "db01");
  EXPECT_EQ(vm.vcpus, 4) << "sockets times cores";
  EXPECT_EQ(vm.memory_mib, 3072U);
  EXPECT_EQ(vm.firmware, Firmware::efi);
  EXPECT_TRUE(vm.secure_boot);
  EXPECT_EQ(vm.os_type, "l26");
  ASSERT_EQ(vm.disks.size(), 2U);
  EXPECT_EQ(vm.disks[0].id, "1111bbbb");
  EXPECT_EQ(vm.disks[0].controller, "virtio");
  EXPECT_EQ(vm.disks[0].capacity, 1610612736U);
  ASSERT_TRUE(vm.disks[0].file);
  EXPECT_EQ(vm.disks[0].file->href, "0000bbbb-disk-boot");
  EXPECT_EQ(vm.disks[1].controller, "scsi");
  EXPECT_EQ(vm.disks[1].scsi_model, "virtio_scsi");
  EXPECT_EQ(vm.disks[1].capacity, gib) << "oVirt's size is in GiB";
  ASSERT_EQ(vm.nics.size(), 1U);
  EXPECT_EQ(vm.nics[0].model, "virtio");
  EXPECT_EQ(vm.nics[0].network, "ovirtmgmt");
}

TEST(OvfByHand, isReadWithGuessesThatAreSaid) {
  const auto vm = parse_ovf(fixture("handmade"), "x.ovf");
  EXPECT_EQ(vm.flavour, "other");
  EXPECT_EQ(vm.name, "small");
  EXPECT_EQ(vm.memory_mib, 512U);
  EXPECT_EQ(vm.firmware, Firmware::bios);
  EXPECT_EQ(vm.os_type, "l26") << "96 is Debian, 64 bit";
  ASSERT_EQ(vm.disks.size(), 1U);
  EXPECT_EQ(vm.disks[0].controller, "sata");
  EXPECT_EQ(vm.disks[0].capacity, gib);
  ASSERT_EQ(vm.nics.size(), 1U);
  EXPECT_EQ(vm.nics[0].model, "e1000");
  EXPECT_THAT(vm.warnings,
              ::testing::UnorderedElementsAre(HasSubstr("512 without a unit"), HasSubstr("SATA"),
                                              HasSubstr("card 0 has no model")));
}

TEST(Ovf2, hasStorageAndEthernetItems) {
  const auto vm = parse_ovf(fixture("ovf2"), "x.ovf");
  EXPECT_EQ(vm.version, "2");
  EXPECT_EQ(vm.name, "files") << "a collection of one system is that system";
  EXPECT_EQ(vm.memory_mib, 2048U);
  EXPECT_EQ(vm.os_type, "win8") << "115 is Windows Server 2012 R2";
  ASSERT_EQ(vm.disks.size(), 1U);
  EXPECT_EQ(vm.disks[0].controller, "scsi");
  EXPECT_EQ(vm.disks[0].scsi_model, "lsilogicsas");
  EXPECT_EQ(vm.disks[0].position, 2);
  EXPECT_TRUE(vm.disks[0].file->gzip);
  ASSERT_EQ(vm.nics.size(), 1U);
  EXPECT_EQ(vm.nics[0].model, "e1000");
  EXPECT_EQ(vm.nics[0].network, "lan");
}

TEST(Ovf, countsControllersOfOneKindByTheirAddresses) {
  auto text =
      with(fixture("vmware"), "<rasd:Parent>4</rasd:Parent>", "<rasd:Parent>5</rasd:Parent>");
  EXPECT_EQ(parse_ovf(text, "x.ovf").disks.at(2).controller_number, 0);
}

TEST(Ovf, givesADiskWithoutAnAddressTheNextFreePlace) {
  auto text = with(fixture("vmware"), "<rasd:AddressOnParent>1</rasd:AddressOnParent>", "");
  EXPECT_EQ(parse_ovf(text, "x.ovf").disks.at(1).position, 1);
}

TEST(Ovf, givesNoControlCharactersToATerminal) {
  const auto text = with(fixture("vmware"), "Web &amp; Mail", "Web &#27;[2J");
  EXPECT_EQ(parse_ovf(text, "x.ovf").name, "Web ?[2J Server");
}

TEST(Ovf, leavesADiskOutThatIsInNoDrive) {
  const auto text = with(fixture("vmware"), "</DiskSection>",
                         "<Disk ovf:diskId=\"lone\" ovf:capacity=\"5\"/></DiskSection>");
  const auto vm = parse_ovf(text, "x.ovf");
  EXPECT_EQ(vm.disks.size(), 3U);
  EXPECT_THAT(vm.warnings, ::testing::Contains(HasSubstr("Disk lone is in no drive")));
}

// --- bad input -----------------------------------------------------------------------------------

struct BadOvf {
  const char* name;
  const char* from;  ///< in the fixture of VMware
  const char* to;
  const char* said;
};

class BadOvfText : public ::testing::TestWithParam<BadOvf> {};

TEST_P(BadOvfText, isRefusedNamingWhereAndWhy) {
  const auto& bad = GetParam();
  const auto said = error_of(with(fixture("vmware"), bad.from, bad.to));
  EXPECT_THAT(said, HasSubstr(bad.said));
  EXPECT_THAT(said, HasSubstr("box.ova: box.ovf, line "));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadOvfText,
    ::testing::Values(
        BadOvf{"aBombOfEntities", "<Envelope",
               "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>\n<Envelope",
               "line 2: it has a DTD"},
        BadOvf{"anExternalEntity", "<Envelope",
               "<!DOCTYPE x [<!ENTITY f SYSTEM \"file:///etc/passwd\">]>\n<Envelope",
               "it has a DTD"},
        BadOvf{"anExternalDtd", "<Envelope", "<!DOCTYPE x SYSTEM \"http://x/x.dtd\">\n<Envelope",
               "it has a DTD"},
        BadOvf{"brokenXml", "</References>", "</Reverences>", "broken XML"},
        BadOvf{"severalSystems", "</Envelope>",
               "<VirtualSystem ovf:id=\"db\"><Info/></VirtualSystem></Envelope>",
               "2 virtual systems (web, db)"},
        BadOvf{"severalSystemsInACollection", "</Envelope>",
               "<VirtualSystemCollection ovf:id=\"c\"><VirtualSystem ovf:id=\"db\"/>"
               "</VirtualSystemCollection></Envelope>",
               "2 virtual systems"},
        BadOvf{"anUnknownCompression", "ovf:id=\"file1\"",
               "ovf:id=\"file1\" ovf:compression=\"bzip2\"",
               "compression: is \"bzip2\"; gzip and identity are known"},
        BadOvf{"chunks", "ovf:id=\"file1\"", "ovf:id=\"file1\" ovf:chunkSize=\"1000\"",
               "is cut into chunks"},
        BadOvf{"aFileOnTheNet", "web%20server-disk1.vmdk", "http://example.org/a.vmdk",
               "href: is \"http://example.org/a.vmdk\""},
        BadOvf{"aFileWithoutHref", "ovf:href=\"web%20server-disk1.vmdk\"", "", "has no href"},
        BadOvf{"twoFilesOfOneId", "ovf:id=\"file2\"", "ovf:id=\"file1\"", "the id \"file1\""},
        BadOvf{"aFileThatIsNotListed", "ovf:fileRef=\"file1\"", "ovf:fileRef=\"file9\"",
               "fileRef of disk \"vmdisk1\" leads to no file: file9"},
        BadOvf{"aDiskThatIsNotListed", "ovf:/disk/vmdisk1", "ovf:/disk/vmdisk9",
               "HostResource leads to no disk: disk/vmdisk9"},
        BadOvf{"aDiskInTwoDrives", "ovf:/disk/vmdisk1", "ovf:/disk/vmdisk2",
               "disk \"vmdisk2\" is in two drives"},
        BadOvf{"twoDisksInOnePlace", "<rasd:AddressOnParent>1</rasd:AddressOnParent>",
               "<rasd:AddressOnParent>0</rasd:AddressOnParent>", "AddressOnParent 0"},
        BadOvf{"aDiskOnAnother", "ovf:fileRef=\"file1\"",
               "ovf:fileRef=\"file1\" ovf:parentRef=\"vmdisk2\"", "parentRef"},
        BadOvf{"aDiskOfNothing", "ovf:capacity=\"5\"", "ovf:capacity=\"0\"",
               "neither a file nor a capacity"},
        BadOvf{"aCapacityThatIsNoNumber", "ovf:capacity=\"64\"", "ovf:capacity=\"${size}\"",
               "capacity: is \"${size}\""},
        BadOvf{"aCapacityTooLarge", "ovf:capacity=\"64\"", "ovf:capacity=\"9223372036854775807\"",
               "it is no size of a disk"},
        BadOvf{"anUnknownUnit", "capacityAllocationUnits=\"byte * 2^20\"",
               "capacityAllocationUnits=\"furlong\"", "capacityAllocationUnits: is \"furlong\""},
        BadOvf{"memoryThatIsNoNumber", "<rasd:VirtualQuantity>2048", "<rasd:VirtualQuantity>-1",
               "VirtualQuantity of the memory: is \"-1\""},
        BadOvf{"tooMuchMemory", "<rasd:VirtualQuantity>2048", "<rasd:VirtualQuantity>99999999",
               "more than 4 TiB"},
        BadOvf{"noProcessor", "<rasd:VirtualQuantity>4<", "<rasd:VirtualQuantity>0<",
               "VirtualQuantity of the processor: is \"0\""},
        BadOvf{"aResourceTypeThatIsNoNumber", "<rasd:ResourceType>6<", "<rasd:ResourceType>six<",
               "ResourceType: is \"six\""}),
    [](const auto& info) { return std::string{info.param.name}; });

TEST(BadOvf, ofAnotherKindIsRefused) {
  EXPECT_THAT(error_of("<domain type='kvm'/>"), HasSubstr("the root element is <domain>"));
  EXPECT_THAT(error_of(""), HasSubstr("broken XML"));
  EXPECT_THAT(error_of("<Envelope/>"), HasSubstr("no virtual system"));
  EXPECT_THAT(error_of("<Envelope><VirtualSystem/></Envelope>"),
              HasSubstr("VirtualHardwareSection"));
}

TEST(BadOvf, thatIsFarTooLongIsNotParsed) {
  EXPECT_THAT(error_of(std::string((4U << 20U) + 1, ' ')), HasSubstr("too many"));
}

TEST(BadOvf, thatIsNestedDeeplyDoesNotOverflowTheStack) {
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += "<a>";
  EXPECT_THAT(error_of(text), HasSubstr("broken XML"));
}

}  // namespace
}  // namespace px::image
