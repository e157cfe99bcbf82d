// EFI variables and the state of a TPM: volumes that no guest sees as disks.
#include "node/vm_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::node {
namespace {

using node::testing::Params;
using node::testing::VmApi;
using ::testing::HasSubstr;

const Params secure_guest{{"vmid", "100"},
                          {"bios", "ovmf"},
                          {"machine", "q35"},
                          {"scsi0", "local:1,format=qcow2"},
                          {"boot", "order=scsi0"},
                          {"efidisk0", "local:1,efitype=4m,pre-enrolled-keys=1"},
                          {"tpmstate0", "local:1,version=v2.0"}};

int files_of(VmApi& api, int vmid) {
  const auto folder = api.path(fmt::format("local:{}/x", vmid)).parent_path();
  if (!std::filesystem::exists(folder)) return 0;
  return static_cast<int>(std::distance(std::filesystem::directory_iterator{folder},
                                        std::filesystem::directory_iterator{}));
}

TEST(MachineState, isMadeCopiedAndRemovedWithItsVm) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", secure_guest), "OK");
    EXPECT_EQ(co_await api.option(100, "efidisk0"),
              "local:100/vm-100-disk-0.qcow2,efitype=4m,pre-enrolled-keys=1,size=528K");
    EXPECT_EQ(co_await api.option(100, "tpmstate0"),
              "local:100/vm-100-disk-2.raw,size=4M,version=v2.0");
    EXPECT_EQ(co_await api.option(100, "boot"), "order=scsi0") << "nothing to boot from";
    EXPECT_EQ(co_await api.task("POST", "/100/template"), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/clone", {{"newid", "101"}}), "OK");
    EXPECT_EQ(co_await api.option(101, "efidisk0"),
              "local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2,efitype=4m,"
              "pre-enrolled-keys=1,size=528K")
        << "linked, as on the real server";
    EXPECT_EQ(co_await api.option(101, "tpmstate0"),
              "local:101/vm-101-disk-2.raw,size=4M,version=v2.0")
        << "a copy, as on the real server";
    EXPECT_EQ(co_await api.task("POST", "/100/clone",
                                {{"newid", "102"}, {"full", "1"}, {"format", "raw"}}),
              "OK");
    EXPECT_THAT(co_await api.option(102, "efidisk0"), HasSubstr("local:102/vm-102-disk-0.qcow2,"))
        << "the format is for disks";
    EXPECT_EQ(files_of(api, 101), 3);
    for (const auto* vm : {"/101", "/102", "/100"}) {
      EXPECT_EQ(co_await api.task("DELETE", vm), "OK");
    }
    for (const int vmid : {100, 101, 102}) EXPECT_EQ(files_of(api, vmid), 0) << vmid;
  });
}

TEST(MachineState, isNoDiskToSnapshotResizeOrChange) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", secure_guest), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/snapshot", {{"snapname", "one"}}),
              "snapshot feature is not available")
        << "of a raw TPM state, as on a directory of the real server";
    for (const auto* disk : {"efidisk0", "tpmstate0"}) {
      EXPECT_EQ(co_await api.task("PUT", "/100/resize", {{"disk", disk}, {"size", "+1G"}}),
                fmt::format("you can't resize {}", disk));
    }
    EXPECT_EQ(co_await api.refusal("PUT", "/100/config",
                                   {{"tpmstate0", "local:100/vm-100-disk-2.raw,version=v1.2"}}),
              "500 cannot change TPM state version after creation");
    co_await api.vm("PUT", "/100/config", {{"delete", "tpmstate0"}});
    EXPECT_EQ(co_await api.option(100, "unused0"), "local:100/vm-100-disk-2.raw");
    EXPECT_EQ(co_await api.task("POST", "/100/snapshot", {{"snapname", "one"}}), "OK")
        << "the EFI variables are held";
  });
}

TEST(MachineState, isRefusedWhenItSaysTooLittle) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    api.put_file("local:import/vars.qcow2", "vars");
    const auto refusal = [&api](std::string name, std::string value) -> awaitable<std::string> {
      co_return co_await api.refusal("POST", "", {{"vmid", "100"}, {name, value}});
    };
    EXPECT_THAT(co_await refusal("efidisk0", "local:0,import-from=local:import/vars.qcow2"),
                HasSubstr("|efidisk0: need to specify 'efitype' when using 'import-from'"));
    EXPECT_THAT(co_await refusal("tpmstate0", "local:0,import-from=local:import/vars.qcow2"),
                HasSubstr("|tpmstate0: need to specify 'version' when using 'import-from'"));
    EXPECT_THAT(co_await refusal("tpmstate0", "local:1,format=qcow2"),
                HasSubstr("|tpmstate0: the local node keeps the state of a TPM as raw only"));
    EXPECT_EQ(co_await api.task("POST", "",
                                {{"vmid", "100"},
                                 {"efidisk0",
                                  "local:0,import-from=local:import/vars.qcow2,efitype=4m,"
                                  "pre-enrolled-keys=0"}}),
              "OK");
    EXPECT_EQ(co_await api.option(100, "efidisk0"),
              "local:100/vm-100-disk-0.qcow2,efitype=4m,pre-enrolled-keys=0,size=4");
  });
}

}  // namespace
}  // namespace px::node
