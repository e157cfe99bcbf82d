#include "node/vm/vm_options.hpp"

#include "node/vm/option_format.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::node {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

std::string refusal(const std::string& name, const std::string& value) {
  try {
    normalise_option(name, value);
  } catch (const ApiError& error) {
    return error.errors.empty() ? error.message : error.errors.begin()->second;
  }
  return "";
}

Call call_of(const std::string& user, const Options& options) {
  Call call;
  call.user = user;
  for (const auto& [name, value] : options) call.values[name] = {value};
  return call;
}

struct Row {
  const char* option;
  const char* value;
  const char* refusal;
};

class OptionForms : public ::testing::TestWithParam<Row> {};

TEST_P(OptionForms, areCheckedInTheRealServersWords) {
  EXPECT_EQ(refusal(GetParam().option, GetParam().value), GetParam().refusal)
      << GetParam().option << ": " << GetParam().value;
}

INSTANTIATE_TEST_SUITE_P(
    Options, OptionForms,
    ::testing::Values(
        Row{"memory", "current=512", ""}, Row{"vga", "qxl,memory=32", ""},
        Row{"machine", "pc-i440fx-9.2+pve1", ""}, Row{"cpu", "x86-64-v2-AES,flags=+aes;-pcid", ""},
        Row{"efidisk0", "local:1,efitype=4m,pre-enrolled-keys=1", ""},
        Row{"tpmstate0", "local:1,version=v2.0", ""},
        Row{"ipconfig0", "ip=10.0.0.5/24,gw=10.0.0.1", ""}, Row{"ipconfig1", "ip6=auto", ""},
        Row{"boot", "order=scsi0;net0", ""}, Row{"cicustom", "user=local:snippets/a.yml", ""},
        Row{"startup", "order=1,up=30", ""}, Row{"affinity", "0,5,8-11", ""},
        Row{"hotplug", "network,disk,cloudinit", ""}, Row{"sshkeys", "ssh-rsa%20AAAA", ""},
        Row{"agent", "1,fstrim_cloned_disks=1", ""}, Row{"hostpci0", "0000:01:00.0,pcie=1", ""},
        Row{"usb0", "host=046d:c52b,usb3=1", ""},
        Row{"scsi0", "local:8,cache=writeback,discard=on,iothread=1,ssd=1,iops_rd=100", ""},
        Row{"memory", "8",
            "invalid format - format error\nmemory.current: value must have a minimum "
            "value of 16\n"},
        Row{"memory", "abc",
            "invalid format - format error\nmemory.current: type check ('integer') "
            "failed - got 'abc'\n"},
        Row{"vga", "none,foo=1",
            "invalid format - invalid key in comma-separated list property: "
            "foo\n"},
        Row{"vga", "none,std",
            "invalid format - duplicate key in comma-separated list property: "
            "type\n"},
        Row{"watchdog", "action=explode",
            "invalid format - format error\nwatchdog.action: value 'explode' does not have a value "
            "in "
            "the enumeration 'reset, shutdown, poweroff, pause, debug, none'\n"},
        Row{"ipconfig0", "gw=10.0.0.1",
            "invalid format - format error\nipconfig0.ip: missing property - 'ipconfig0.gw' "
            "requires "
            "this property\n"},
        Row{"ipconfig0", "ip=10.0.0.5",
            "invalid format - format error\nipconfig0.ip: invalid format - value does not look "
            "like a "
            "valid ipv4 network configuration\n\n"},
        Row{"ipconfig0", "10.0.0.5/24",
            "invalid format - value without key, but schema does not define a default key\n"},
        Row{"audio0", "driver=none",
            "invalid format - format error\naudio0.device: property is missing and it is not "
            "optional\n"},
        Row{"cpu", "host,flags=+sse",
            "invalid format - VM-specific CPU flags must be a subset of: "
            "aes, amd-no-ssb, amd-ssbd, hv-evmcs, hv-tlbflush, ibpb, "
            "md-clear, nested-virt, pcid, pdpe1gb, spec-ctrl, ssbd, "
            "virt-ssbd\n"},
        Row{"cpu", "pentium9",
            "invalid format - Built-in cputype 'pentium9' is not defined (missing "
            "'custom-' prefix?)\n"},
        Row{"hotplug", "network,brain", "invalid format - invalid hotplug feature 'brain'\n"},
        Row{"boot", "order=efidisk0",
            "invalid format - format error\nboot.order: invalid format - invalid boot device "
            "'efidisk0'\n\n"},
        Row{"sshkeys", "ssh-rsa AAAA",
            "invalid format - invalid urlencoded string: ssh-rsa AAAA\n"},
        Row{"nameserver", "1.1.1.1 ?",
            "invalid format - value does not look like a valid address: "
            "?\n"},
        Row{"affinity", "all", "invalid format - unable to parse cpuset option\n"},
        Row{"startup", "later", "invalid format - unable to parse startup options\n"},
        Row{"hookscript", "/bin/sh", "invalid format - unable to parse volume ID '/bin/sh'\n"},
        Row{"net0", "virtio,tag=5000",
            "invalid format - format error\nnet0.tag: value must have a maximum value of 4094\n"},
        Row{"scsi0", "local:8,model=x",
            "invalid format - invalid key in comma-separated list property: model\n"},
        Row{"scsi0", "bad",
            "invalid format - format error\nscsi0.file: invalid format - unable to parse volume ID "
            "'bad'\n\n"},
        Row{"ciuser", "a\nb",
            "unable to parse value of 'ciuser' - property contains a line feed"}));

TEST(VmOptions, keepADrivesFlagsAsNumbers) {
  EXPECT_EQ(normalise_option("scsi0", "file=local:8,ssd=on,iothread=no"),
            "local:8,iothread=0,ssd=1");
}

TEST(VmOptions, refuseALongValueInsteadOfSearchingIt) {
  EXPECT_THAT(refusal("startup", std::string(500'000, '1')), HasSubstr("unable to parse"));
  EXPECT_THAT(refusal("cpu", "host,flags=" + std::string(500'000, '+')),
              HasSubstr("may only be 1000 characters long"));
  EXPECT_EQ(refusal("sshkeys", std::string(100'000, 'a')), "");
}

TEST(VmOptions, areForRootAloneWhereTheyReachTheHost) {
  for (const auto& [name, value] : Options{{"args", "-S"},
                                           {"hookscript", "local:snippets/x"},
                                           {"lock", "backup"},
                                           {"parallel0", "/dev/parport0"}}) {
    try {
      options_of(call_of("root@pam!token", {{name, value}}), {});
      ADD_FAILURE() << name;
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status, 500);
      EXPECT_EQ(error.message, "only root can set '" + name + "' config");
    }
    EXPECT_EQ(options_of(call_of("root@pam", {{name, value}}), {}).at(name), value);
  }
  for (const auto& [name, value] : Options{{"serial0", "/dev/ttyS0"}, {"usb0", "host=1-2"}}) {
    try {
      options_of(call_of("root@pam!token", {{name, value}}), {});
      ADD_FAILURE() << name;
    } catch (const ApiError& error) {
      EXPECT_EQ(error.message, "only root can set '" + name + "' config for real devices");
    }
  }
  EXPECT_NO_THROW(options_of(call_of("root@pam!token", {{"serial0", "socket"}}), {}));
}

TEST(VmOptions, keepAHashOfAPasswordButForWindows) {
  const auto linux = options_of(call_of("root@pam", {{"cipassword", "secret"}}), {});
  EXPECT_THAT(linux.at("cipassword"), MatchesRegex("\\$5\\$[0-9a-f]{8}\\$[./0-9A-Za-z]{43}"));
  const std::string hash = "$6$salt$abcdef";
  EXPECT_EQ(options_of(call_of("root@pam", {{"cipassword", hash}}), {}).at("cipassword"), hash);
  const auto windows =
      options_of(call_of("root@pam", {{"cipassword", "secret"}}), {{"ostype", "win11"}});
  EXPECT_EQ(windows.at("cipassword"), "secret");
  EXPECT_EQ(option_to_json("cipassword", "secret"), json::value("**********"));
}

TEST(VmOptions, takeCdromForIde2) {
  const auto options = options_of(call_of("root@pam", {{"cdrom", "local:iso/a.iso"}}), {});
  EXPECT_EQ(options, (Options{{"ide2", "local:iso/a.iso,media=cdrom"}}));
}

}  // namespace
}  // namespace px::node
