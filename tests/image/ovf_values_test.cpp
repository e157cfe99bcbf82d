#include "image/ovf_values.hpp"

#include <gtest/gtest.h>

namespace px::image {
namespace {

TEST(Unit, isReadInTheFormsThatToolsWrite) {
  EXPECT_EQ(bytes_of_unit("byte * 2^20"), 1'048'576U);
  EXPECT_EQ(bytes_of_unit("byte*2^30"), 1'073'741'824U);
  EXPECT_EQ(bytes_of_unit(" bytes * 10^6 "), 1'000'000U);
  EXPECT_EQ(bytes_of_unit("byte * 1024"), 1024U);
  EXPECT_EQ(bytes_of_unit("byte * 2^10 * 3"), 3072U);
  EXPECT_EQ(bytes_of_unit("byte"), 1U);
  EXPECT_EQ(bytes_of_unit(""), 1U);
  EXPECT_EQ(bytes_of_unit("KiloBytes"), 1024U);
  EXPECT_EQ(bytes_of_unit("MegaBytes"), 1'048'576U);
  EXPECT_EQ(bytes_of_unit("MB"), 1'048'576U);
  EXPECT_EQ(bytes_of_unit("GigaBytes"), 1'073'741'824U);
}

TEST(Unit, thatIsNoneOfBytesIsNotRead) {
  for (const auto* unit : {"hertz * 10^6", "byte / 2", "byte * 2^64", "byte * 0", "byte *",
                           "byte * x", "byte * 2^", "byte * 10^63", "bytewise", "s"}) {
    EXPECT_FALSE(bytes_of_unit(unit)) << unit;
  }
}

struct Named {
  const char* name;
  const char* type;
};

TEST(OsType, isFoundByTheNamesOfTools) {
  for (const auto& [name, type] : {Named{"ubuntu64Guest", "l26"},
                                   Named{"rhel7_64Guest", "l26"},
                                   Named{"other24xLinux64Guest", "l24"},
                                   Named{"other26xLinux64Guest", "l26"},
                                   Named{"freebsd13_64Guest", "other"},
                                   Named{"solaris11_64Guest", "solaris"},
                                   Named{"winXPProGuest", "wxp"},
                                   Named{"winNetStandardGuest", "w2k3"},
                                   Named{"winLonghorn64Guest", "w2k8"},
                                   Named{"windows7_64Guest", "win7"},
                                   Named{"windows7Server64Guest", "win7"},
                                   Named{"windows8Server64Guest", "win8"},
                                   Named{"windows9_64Guest", "win10"},
                                   Named{"windows9Server64Guest", "win10"},
                                   Named{"windows2019srv_64Guest", "win10"},
                                   Named{"windows2019srvNext_64Guest", "win11"},
                                   Named{"windows2022srvNext_64Guest", "win11"},
                                   Named{"windows11_64Guest", "win11"},
                                   Named{"Windows98", "other"},
                                   Named{"Windows2022_64", "win11"},
                                   Named{"Windows81_64", "win8"},
                                   Named{"Debian_64", "l26"},
                                   Named{"Linux24", "l24"},
                                   Named{"ArchLinux_64", "l26"},
                                   Named{"rhel_7x64", "l26"},
                                   Named{"windows_2008R2x64", "win7"},
                                   Named{"windows_2012R2x64", "win8"},
                                   Named{"OtherLinux", "l26"},
                                   Named{"Microsoft Windows Server 2019 (64-bit)", "win10"},
                                   Named{"Microsoft Windows Server 2008 R2", "win7"}}) {
    EXPECT_EQ(os_type_of_name(name), type) << name;
  }
  EXPECT_FALSE(os_type_of_name(""));
  EXPECT_FALSE(os_type_of_name("otherGuest"));
}

TEST(OsType, isFoundByTheStandardsNumber) {
  EXPECT_EQ(os_type_of_id(36), "l26");
  EXPECT_EQ(os_type_of_id(94), "l26");
  EXPECT_EQ(os_type_of_id(98), "l24");
  EXPECT_EQ(os_type_of_id(103), "win7");
  EXPECT_EQ(os_type_of_id(120), "win10");
  EXPECT_EQ(os_type_of_id(123), "win11");
  EXPECT_EQ(os_type_of_id(1), "other");
  EXPECT_EQ(os_type_of_id(UINT64_MAX), "other");
}

TEST(NicModel, isTheOneThatProxmoxHas) {
  EXPECT_EQ(nic_model_of("VmxNet3", false), "vmxnet3");
  EXPECT_EQ(nic_model_of("E1000", false), "e1000");
  EXPECT_EQ(nic_model_of("E1000e", false), "e1000e");
  EXPECT_EQ(nic_model_of("82540EM", false), "e1000");
  EXPECT_EQ(nic_model_of("PCNet32", false), "pcnet");
  EXPECT_EQ(nic_model_of("virtio-net", false), "virtio");
  EXPECT_EQ(nic_model_of("rtl8139", false), "rtl8139");
  EXPECT_EQ(nic_model_of("3", true), "virtio");
  EXPECT_EQ(nic_model_of("2", true), "e1000");
  EXPECT_FALSE(nic_model_of("3", false));
  EXPECT_FALSE(nic_model_of("VmxNet2", false));
}

TEST(Bus, isFoundByTypeAndModel) {
  EXPECT_EQ(bus_of(5, ""), "ide");
  EXPECT_EQ(bus_of(6, "lsilogic"), "scsi");
  EXPECT_EQ(bus_of(20, "AHCI"), "sata");
  EXPECT_EQ(bus_of(20, "vmware.sata.ahci"), "sata");
  EXPECT_EQ(bus_of(20, "vmware.nvme.controller"), "nvme");
  EXPECT_EQ(bus_of(20, "LsiLogicSas"), "scsi");
  EXPECT_EQ(bus_of(20, "VirtioSCSI"), "scsi");
  EXPECT_EQ(bus_of(20, ""), "sata");
  EXPECT_EQ(bus_of(0, "VirtIO"), "virtio");
  EXPECT_FALSE(bus_of(10, "virtio")) << "a network card";
}

}  // namespace
}  // namespace px::image
