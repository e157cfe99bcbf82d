#include "node/vm/config_change.hpp"

#include <gtest/gtest.h>

namespace px::node {
namespace {

using Kind = HotplugStep::Kind;

VmConfig guest() {
  VmConfig config;
  config.current = {{"boot", "order=scsi0"},
                    {"memory", "512"},
                    {"net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"},
                    {"scsi0", "local:100/vm-100-disk-0.qcow2,size=2G"},
                    {"scsi3", "none,media=cdrom"},
                    {"scsihw", "virtio-scsi-pci"}};
  return config;
}

struct Row {
  const char* name;
  Options set;
  std::vector<std::string> remove;
  Options already;  ///< options that differ from guest()
  std::vector<Kind> steps;
  const char* pending;  ///< an option that must still wait, or nullptr
};

class RunningChanges : public ::testing::TestWithParam<Row> {};

TEST_P(RunningChanges, takeTheStepsThatTheRealServerTakes) {
  const Row& row = GetParam();
  VmConfig now = guest();
  for (const auto& [name, value] : row.already) now.current[name] = value;
  const ConfigPlan plan = plan_change(now, {row.set, row.remove, {}}, true);
  std::vector<Kind> kinds;
  for (const auto& step : plan.steps) kinds.push_back(step.kind);
  EXPECT_EQ(kinds, row.steps) << row.name;
  if (row.pending != nullptr) {
    const auto& removed = plan.config.pending_delete;
    EXPECT_TRUE(plan.config.pending.contains(row.pending) ||
                std::find(removed.begin(), removed.end(), row.pending) != removed.end())
        << row.name;
  }
}

const char* const medium = "local:iso/a.iso,media=cdrom,size=4K";

INSTANTIATE_TEST_SUITE_P(
    Changes, RunningChanges,
    ::testing::Values(
        Row{"a name at once", {{"name", "x"}}, {}, {}, {}, nullptr},
        Row{"memory waits", {{"memory", "640"}}, {}, {}, {}, "memory"},
        Row{"a medium at once", {{"scsi3", medium}}, {}, {}, {Kind::change_medium}, nullptr},
        Row{"the same medium again",
            {{"scsi3", medium}},
            {},
            {{"scsi3", medium}},
            {Kind::change_medium},
            nullptr},
        Row{"a medium though hotplug is off",
            {{"scsi3", medium}},
            {},
            {{"hotplug", "0"}},
            {Kind::change_medium},
            nullptr},
        Row{"a new SCSI drive is plugged",
            {{"scsi5", medium}},
            {},
            {},
            {Kind::plug_drive},
            nullptr},
        Row{"not when hotplug is off", {{"scsi5", medium}}, {}, {{"hotplug", "0"}}, {}, "scsi5"},
        Row{"not when hotplug is for networks only",
            {{"scsi5", medium}},
            {},
            {{"hotplug", "network"}},
            {},
            "scsi5"},
        Row{"not on another controller", {{"scsi5", medium}}, {}, {{"scsihw", "lsi"}}, {}, "scsi5"},
        Row{"IDE waits", {{"ide2", medium}}, {}, {}, {}, "ide2"},
        Row{"SATA waits", {{"sata0", medium}}, {}, {}, {}, "sata0"},
        Row{"a drive is unplugged", {}, {"scsi3"}, {}, {Kind::unplug_drive}, nullptr},
        Row{"a NIC is plugged",
            {{"net1", "virtio=BC:24:11:00:00:02"}},
            {},
            {},
            {Kind::plug_nic},
            nullptr},
        Row{"a NIC is unplugged", {}, {"net0"}, {}, {Kind::unplug_nic}, nullptr},
        Row{"a NIC of q35 waits",
            {{"net1", "virtio=BC:24:11:00:00:02"}},
            {},
            {{"machine", "q35"}},
            {},
            "net1"}));

TEST(ConfigChange, appliesAllToAStoppedVm) {
  const ConfigPlan plan = plan_change(
      guest(), {{{"memory", "640"}, {"ide2", "none,media=cdrom"}}, {"net0"}, {}}, false);
  EXPECT_TRUE(plan.steps.empty());
  EXPECT_TRUE(plan.config.pending.empty());
  EXPECT_EQ(plan.config.current.at("memory"), "640");
  EXPECT_FALSE(plan.config.current.contains("net0"));
  EXPECT_EQ(plan.config.current.at("boot"), "order=scsi0;ide2") << "PVE appends new drives";
}

TEST(ConfigChange, forgetsAPendingValueThatIsReverted) {
  VmConfig config = plan_change(guest(), {{{"memory", "640"}}, {"scsi0"}, {}}, true).config;
  config = plan_change(config, {{}, {}, {"memory", "scsi0"}}, true).config;
  EXPECT_TRUE(config.pending.empty());
}

TEST(ConfigChange, settlesAnOptionWhoseStepWasTaken) {
  VmConfig config = plan_change(guest(), {{{"scsi3", medium}}, {}, {}}, true).config;
  EXPECT_EQ(config.current.at("scsi3"), "none,media=cdrom");
  settle(config, "scsi3");
  EXPECT_EQ(config.current.at("scsi3"), medium);
  EXPECT_TRUE(config.pending.empty());
}

}  // namespace
}  // namespace px::node
